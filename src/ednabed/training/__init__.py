"""Training of encoders on labelled barcodes: the ``train`` command.

``records`` reads the barcodes, ``sampling`` draws batches by taxon, ``views`` alters sequences as they vary in eDNA,
``networks`` are the trainable networks, ``objective`` is the loss, ``validation`` measures accuracy on held-out taxa,
``loop`` runs the training steps and can be killed, ``train`` joins these parts and writes the model folder. torch is
imported only inside functions and in ``loop``, ``networks`` and ``objective``.
"""
