"""The warnings of a mapping: every code that a call may carry in `attributes.mapping_warnings`.

A warning is `code` or `code:key`. It never costs a span: what could not be read stays in the call as it came.
Codes are stable; those of dialects of other packages are their own.
"""

from __future__ import annotations

import re
from typing import Final

WARNINGS: Final[dict[str, str]] = {
    "undecodable": "The value of this key is not what the key promises; it stays in `attributes.otel`.",
    "unknown_word": "The value is none of the words that the convention has for this key.",
    "unsettled": "The code of a dialect failed on this span; what its table says was read.",
    "too_many_events": "The span has more events than a call keeps.",
    "too_many_logs": "The span has more log records than a call keeps.",
    "usage_input_without_cache": "Cached tokens were told beside the input tokens, and are added to them.",
    "usage_output_without_reasoning": "Reasoning was told beside the output tokens, and is added to them.",
    "usage_output_counts_reasoning_twice": "Reasoning was in the output tokens twice, and is taken out once.",
    "usage_missing": "A model call that was answered tells of no tokens, as a stream without usage does.",
    "model_missing": "Tokens were spent, and no model is named; they count for the model `unknown`.",
    "dialect_not_loaded": "The entry point of a dialect could not be loaded when a bridge started.",
}

_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def code_of_warning(warning: str) -> str:
    """The code by which the warning is summed up; `other` for what is none."""
    code = warning.split(":", 1)[0]
    return code if code in WARNINGS or _CODE.fullmatch(code) else "other"
