"""Training of encoders on labelled barcodes: the ``train`` verb.

``records`` reads them, ``sampling`` draws batches by taxon, ``views`` alters sequences as eDNA does, ``networks`` are
what is trained, ``objective`` is what it is asked for, ``validation`` tells how good it is on taxa that were left out,
``loop`` takes the steps and can be killed, ``train`` joins them and writes the model folder. torch is imported inside.
"""
