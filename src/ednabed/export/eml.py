"""``eml.xml`` of a Darwin Core Archive: title, licence and contact in GBIF's profile 1.3 of EML 2.2.0."""

from __future__ import annotations

import uuid
from xml.sax.saxutils import escape, quoteattr

from ednabed.base.text import clean
from ednabed.export.about import LICENSES, Agent, DatasetAbout

EML = "eml.xml"
_PROFILE = "https://eml.ecoinformatics.org/eml-2.2.0 https://rs.gbif.org/schema/eml-gbif-profile/1.3/eml.xsd"


def eml(about: DatasetAbout) -> str:
    """Return the text of ``eml.xml``, always the same for the same metadata.

    Args:
        about: Metadata of the data set.
    """
    address, name = LICENSES[about.license]
    rights = (
        f"<intellectualRights><para>This work is licensed under a <ulink url={quoteattr(address)}><citetitle>"
        f"{escape(name)}</citetitle></ulink>.</para></intellectualRights>"
    )
    parts = [
        _element("title", about.title),
        *(_agent("creator", one) for one in about.creators),
        _agent("metadataProvider", about.contact),
        _element("pubDate", about.published.isoformat()),
        _element("language", about.language),
        f"<abstract>{_element('para', about.abstract)}</abstract>",
        rights,
        _agent("contact", about.contact),
    ]
    body = "".join(f"    {part}\n" for part in parts)
    package = uuid.uuid5(uuid.NAMESPACE_URL, repr(about))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{_PROFILE}" packageId="{package}" system="http://gbif.org" scope="system" '
        f'xml:lang="{about.language}">\n  <dataset>\n{body}  </dataset>\n</eml:eml>\n'
    )


def _agent(role: str, agent: Agent) -> str:
    person = _element("givenName", agent.given_name) + _element("surName", agent.surname) if agent.surname else ""
    orcid = f'<userId directory="https://orcid.org/">{escape(agent.orcid)}</userId>' if agent.orcid else ""
    return (
        f"<{role}>{f'<individualName>{person}</individualName>' if person else ''}"
        f"{_element('organizationName', agent.organization)}"
        f"{_element('electronicMailAddress', agent.email)}{orcid}</{role}>"
    )


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(clean(text))}</{name}>" if text else ""
