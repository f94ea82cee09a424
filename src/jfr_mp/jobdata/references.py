"""Resolving references to outputs in a serialized job, without the packages of the user.

The meaning is that of ``jobflow.core.reference``. jobflow deserializes every output and every reference, which needs
the packages of the user. Here an attribute or an item of an object is looked up on the worker, when the job is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import UnresolvableReference

if TYPE_CHECKING:
    from jobflow import JobStore, OnMissing

#: The number of keys of an output that a message lists.
_KEYS_SHOWN = 10


@dataclass(frozen=True)
class _Output:
    """The last output of a job, serialized, and the name of the job for messages."""

    value: Any
    origin: str


@dataclass(frozen=True)
class References:
    """Resolve the references of one job.

    Parameters
    ----------
    jobstore
        The connected JobStore with the outputs.
    on_missing
        What becomes of a reference to an output that does not exist.
    wrap
        Whether a value is passed together with its reference, as jobflow's ``ResolvedReference``.
    decode
        Whether to import the classes of objects here, for a worker command that does not know `PartOfObject`.
    """

    jobstore: JobStore
    on_missing: OnMissing
    wrap: bool = False
    decode: bool = False
    _outputs: dict[str, _Output | None] = field(default_factory=dict)

    def resolve(self, value: Any) -> Any:
        """Return a serialized value with references replaced by outputs; objects remain serialized.

        Raises
        ------
        UnresolvableReference
            A reference leads to nothing.
        """
        return self._resolve(value, self.wrap, ())

    def _resolve(self, value: Any, wrap: bool, above: Sequence[str]) -> Any:
        if isinstance(value, Mapping):
            if value.get("@class") == "OutputReference":
                return self._wrapped(value, above) if wrap else self._value(value, above)
            return {key: self._resolve(item, wrap, above) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._resolve(item, wrap, above) for item in value]
        return value

    def _wrapped(self, reference: Mapping[str, Any], above: Sequence[str]) -> dict[str, Any]:
        return {
            "@module": "jobflow.core.reference",
            "@class": "ResolvedReference",
            "@version": None,
            "uuid": reference["uuid"],
            "attributes": reference.get("attributes", []),
            "value": self._value(reference, above),
        }

    def _value(self, reference: Mapping[str, Any], above: Sequence[str]) -> Any:
        from jobflow import OnMissing

        output = self._output(reference["uuid"], above)
        if output is not None:
            return self._part(reference.get("attributes", []), output)
        if self.on_missing == OnMissing.NONE:
            return None
        if self.on_missing == OnMissing.PASS:
            return reference
        raise UnresolvableReference(
            f"{_text(reference.get('attributes', []))} of the parent job {reference['uuid']} does not exist: the "
            "JobStore has no output of that job. Rerun the parent job, or check that it was submitted with the same "
            "JobStore"
        )

    def _part(self, attributes: Sequence[tuple[str, Any]], output: _Output) -> Any:
        """Return the part of an output that a reference names; beyond an object, the worker looks it up."""
        value = output.value
        for position in range(len(attributes)):
            if _is_object(value):
                part = {"value": value, "attributes": attributes, "begin": position, "parent": output.origin}
                if self.decode:
                    return _serialized(PartOfObject.from_dict(part))
                return {"@module": __name__, "@class": PartOfObject.__name__, "@version": None, **part}
            value = _step(value, attributes, position, output.origin)
        return value

    def _output(self, uuid: str, above: Sequence[str]) -> _Output | None:
        """Return the last output of a job, in which references are resolved, too; None if there is none."""
        if uuid in above:
            raise UnresolvableReference(f"the output of job {uuid} contains a reference to itself")
        if uuid not in self._outputs:
            found: Any = self.jobstore.query_one(
                {"uuid": uuid}, ["output", "index", "name", "metadata"], sort={"index": -1}, load=True
            )
            resolved = found and self._resolve(found.get("output"), False, (*above, uuid))
            self._outputs[uuid] = found and _Output(resolved, _origin(found))
        return self._outputs[uuid]


class PartOfObject:
    """A part of an object in an output, in a serialized job; decoding it gives the part itself."""

    @classmethod
    def from_dict(cls, part: Mapping[str, Any]) -> Any:
        """Return the part ``attributes[begin:]`` of the object ``value``.

        Raises
        ------
        UnresolvableReference
            The object has no such part.
        """
        value = _decoded(part["value"])
        for position in range(part["begin"], len(part["attributes"])):
            value = _step(value, part["attributes"], position, part["parent"])
        return value


def _step(value: Any, attributes: Sequence[tuple[str, Any]], position: int, parent: str) -> Any:
    """Return an attribute or an item of a value."""
    kind, key = attributes[position]
    try:
        return value[key] if kind == "i" or isinstance(value, Mapping) else getattr(value, key)
    except Exception as error:  # a property of a user's class may raise anything
        raise UnresolvableReference(
            f"{_text(attributes)} of the parent job {parent} does not exist: {_text(attributes[:position])} is "
            f"{_description(value)}{_reason(error)}. Correct the flow and submit it again"
        ) from error


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping) and "@module" in value and ("@class" in value or "@callable" in value)


def _decoded(value: Any) -> Any:
    """Return the object of a serialized form, or the serialized form if it cannot be decoded."""
    from monty.json import MontyDecoder

    try:
        return MontyDecoder().process_decoded(value)
    except Exception:  # noqa: BLE001 - whatever the module of a user raises, the class cannot be used here
        return value


def _serialized(value: Any) -> Any:
    from monty.json import jsanitize

    return jsanitize(value, strict=True, enum_values=True, allow_bson=True)


def _text(attributes: Sequence[tuple[str, Any]]) -> str:
    """Return a reference as a user writes it, such as ``output["energies"][0]``."""
    parts = [f".{key}" if kind == "a" else f"[{key!r}]" for kind, key in attributes]
    return "output" + "".join(parts).replace("'", '"')


def _origin(found: Mapping[str, Any]) -> str:
    db_id = (found.get("metadata") or {}).get("db_id")
    which = f"db_id {db_id}, " if db_id else ""
    return f"{found.get('name')!r} ({which}uuid {found['uuid']}, index {found['index']})"


def _description(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = [repr(key) for key in value if not str(key).startswith("@")]
        more = ", ..." if len(keys) > _KEYS_SHOWN else ""
        return f"a dict with the keys {', '.join(keys[:_KEYS_SHOWN])}{more}" if keys else "an empty dict"
    if isinstance(value, list):
        return f"a list of length {len(value)}"
    return "None" if value is None else f"of type {type(value).__name__}"


def _reason(error: Exception) -> str:
    """Return what an exception adds to the description of the value; a KeyError only repeats the key."""
    return "" if isinstance(error, KeyError | IndexError | AttributeError) else f" ({type(error).__name__}: {error})"
