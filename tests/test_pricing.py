"""Usage is priced exactly, by the call's own time and one's own prices or the shipped ones, or not."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_wandb.config import resolve
from otel_wandb.errors import ConfigError
from otel_wandb.metrics.price_names import find_offers, find_provider
from otel_wandb.metrics.pricing import Cost, Prices
from otel_wandb.records import Attributes
from tests.genai_spans import read_facts

SOURCE = f"genai-prices {version('genai-prices')}"
LATEST = "2026-11-20T12:00"


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def price(
    provider: str | None,
    model: str,
    usage: dict[str, int] | None = None,
    moment: str = LATEST,
    *,
    prices: str = "",
) -> Cost | None:
    found = Prices(prices).price(provider, model, usage or {"input_tokens": 1000}, at(moment))
    return None if found is None else found.to_cost()


class TestShippedPrices:
    @pytest.mark.parametrize(
        ("provider", "model", "moment", "usage", "usd"),
        [
            # o3 became cheaper on 2025-06-10: from 10 and 40 to 2 and 8 USD; cached input 0.5 on both days.
            (
                "openai",
                "o3",
                "2025-06-09T23:59:59",
                {"input_tokens": 1_000_000, "output_tokens": 1_000},
                10.04,
            ),
            (
                "openai",
                "o3",
                "2025-06-10T00:00",
                {"input_tokens": 1_000_000, "output_tokens": 1_000},
                2.008,
            ),
            (
                "openai",
                "o3",
                "2025-06-10T00:00",
                {"input_tokens": 1_000, "cache_read_input_tokens": 400, "output_tokens": 10},
                (600 * 2 + 400 * 0.5 + 10 * 8) / 1e6,
            ),
            # gpt-5.6-luna: 1, 6, cached 0.1, written 1.25 until 2026-07-30, then 0.2, 1.2, 0.02, 0.25.
            (
                "openai",
                "gpt-5.6-luna",
                "2026-07-29T12:00",
                {
                    "input_tokens": 1_000,
                    "cache_read_input_tokens": 100,
                    "cache_creation_input_tokens": 200,
                    "output_tokens": 50,
                    "reasoning_tokens": 20,
                },
                (700 * 1 + 100 * 0.1 + 200 * 1.25 + 50 * 6) / 1e6,
            ),
            (
                "openai",
                "gpt-5.6-luna",
                "2026-07-30T12:00",
                {
                    "input_tokens": 1_000,
                    "cache_read_input_tokens": 100,
                    "cache_creation_input_tokens": 200,
                    "output_tokens": 50,
                    "reasoning_tokens": 20,
                },
                (700 * 0.2 + 100 * 0.02 + 200 * 0.25 + 50 * 1.2) / 1e6,
            ),
            # claude-sonnet-4-6 had a dearer tier above 200,000 tokens of input until 2026-03-13.
            (
                "anthropic",
                "claude-sonnet-4-6",
                "2026-03-12T12:00",
                {"input_tokens": 200_000, "output_tokens": 100},
                (200_000 * 3 + 100 * 15) / 1e6,
            ),
            (
                "anthropic",
                "claude-sonnet-4-6",
                "2026-03-12T12:00",
                {"input_tokens": 200_001, "output_tokens": 100},
                (200_001 * 6 + 100 * 22.5) / 1e6,
            ),
            (
                "anthropic",
                "claude-sonnet-4-6",
                "2026-03-13T12:00",
                {"input_tokens": 200_001, "output_tokens": 100},
                (200_001 * 3 + 100 * 15) / 1e6,
            ),
            # deepseek-chat is cheaper at night: 0.135 and 0.55 instead of 0.27 and 1.1.
            ("deepseek", "deepseek-chat", "2025-06-01T00:29", {"input_tokens": 1_000_000}, 0.135),
            ("deepseek", "deepseek-chat", "2025-06-01T00:30", {"input_tokens": 1_000_000}, 0.27),
            ("openai", "gpt-4o-mini", LATEST, {"input_tokens": 3, "output_tokens": 7}, 4.65e-6),
            ("openai", "text-embedding-3-small", LATEST, {"input_tokens": 14}, 2.8e-7),
            ("openai", "text-embedding-3-small", LATEST, {"total_tokens": 14}, 2.8e-7),
            # Sonar asks for 12 USD a thousand requests beside 1 USD for the tokens.
            ("perplexity", "sonar", LATEST, {"input_tokens": 1_000, "output_tokens": 1_000}, 0.014),
        ],
    )
    def test_a_call_costs_what_the_list_said_at_its_time(
        self, provider: str, model: str, moment: str, usage: dict[str, int], usd: float
    ) -> None:
        cost = price(provider, model, usage, moment)
        assert cost is not None
        assert cost.total_usd == usd
        assert (cost.source, cost.date) == (SOURCE, moment[:10])

    def test_the_parts_and_what_was_matched_are_told(self) -> None:
        usage = {"input_tokens": 1_000, "output_tokens": 10}
        assert price("azure.ai.openai", "gpt-4o-2024-08-06", usage) == Cost(
            0.0026, 0.0025, 0.0001, SOURCE, "2026-11-20", "gpt-4o", "azure"
        )

    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from(
            [
                ("openai", "gpt-5.6-sol"),
                ("google", "gemini-2.5-pro"),
                ("google", "gemini-3-flash-preview"),
                ("anthropic", "claude-opus-4-6"),
                ("deepseek", "deepseek-v4-pro"),
                ("aws", "us.amazon.nova-pro-v1:0"),
                ("openai", "gpt-4o-realtime-preview"),
            ]
        ),
        st.integers(at("2025-01-01"), at("2027-06-01")),
        st.integers(1, 400_000),
        st.integers(0, 5_000),
        st.integers(0, 100_000),
        st.integers(0, 50),
    )
    def test_it_is_what_genai_prices_calculates(
        self, sold: tuple[str, str], at_ns: int, given_: int, made: int, cached: int, audio: int
    ) -> None:
        cached = min(cached, given_ - 1)
        usage = {"input_tokens": given_, "output_tokens": made, "cache_read_input_tokens": cached}
        names = {"input_tokens": given_, "output_tokens": made, "cache_read_tokens": cached}
        if audio and not cached and audio <= given_:
            usage["audio_input_tokens"] = names["input_audio_tokens"] = audio
        moment = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC)
        wanted = calc_price(Usage(**names), sold[1], provider_id=sold[0], genai_request_timestamp=moment)
        found = Prices().price(*sold, usage, at_ns)
        assert found is not None
        cost = found.to_cost()
        assert cost.total_usd == float(wanted.total_price)
        assert (cost.input_usd, cost.output_usd) == (float(wanted.input_price), float(wanted.output_price))

    def test_one_set_of_prices_answers_for_many_days(self) -> None:
        prices = Prices()
        usage = {"input_tokens": 1_000_000}
        found = [prices.price("openai", "o3", usage, at(f"2025-06-{day:02}")) for day in (9, 10, 9)]
        assert [one and one.to_cost().total_usd for one in found] == [10, 2, 10]


class TestNames:
    @pytest.mark.parametrize(
        ("provider", "model", "sold"),
        [
            ("openai.chat", "gpt-4o-mini", ("openai", "gpt-4o-mini")),
            ("openai", "openai/gpt-4o", ("openai", "gpt-4o")),
            ("OpenAI", "GPT-4o", ("openai", "gpt-4o")),
            ("litellm", "azure/gpt-4o", ("azure", "gpt-4o")),
            ("openai", "anthropic/claude-3-5-sonnet", ("anthropic", "claude-3-5-sonnet")),
            ("openrouter", "openai/gpt-4o", ("openrouter", "openai/gpt-4o")),
            ("groq", "openai/gpt-oss-120b", ("groq", "openai/gpt-oss-120b")),
            (None, "gpt-4o", ("openai", "gpt-4o")),
            (None, "claude-sonnet-4-5", ("anthropic", "claude-sonnet-4-5")),
            ("strands-agents", "us.amazon.nova-pro-v1:0", ("aws", "amazon.nova-pro-v1:0")),
            (
                "aws.bedrock",
                "arn:aws:bedrock:eu-west-1:1234:foundation-model/amazon.nova-pro-v1:0",
                ("aws", "amazon.nova-pro-v1:0"),
            ),
            (
                "gcp.vertex_ai",
                "publishers/google/models/gemini-2.5-pro",
                ("google", "gemini-2.5-pro"),
            ),
            ("gcp.vertex_ai", "claude-3-5-sonnet@20240620", ("google", "claude-3-5-sonnet")),
            (None, "models/gemini-2.5-pro", ("google", "gemini-2.5-pro")),
            ("mistral_ai", "mistral-large-latest", ("mistral", "mistral-large")),
        ],
    )
    def test_who_sold_it(self, provider: str | None, model: str, sold: tuple[str, str]) -> None:
        cost = price(provider, model)
        assert cost is not None
        assert (cost.provider, cost.model) == sold

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "meta-llama/Llama-3.1-8B-Instruct"),
            ("openai", "gpt-oss-20b"),
            ("openai", "openai/gpt-oss-20b"),
            ("openai", "gpt-oss:20b"),
            ("openai", "mistralai/Mistral-Large-Instruct-2407"),
            ("openai", "ollama/llama3"),
            ("openai", "hosted_vllm/gpt-4o"),
            ("openai", "a-model-of-ours"),
            ("vllm", "gpt-4o"),
            ("ollama", "deepseek-chat"),
            ("ibm.watsonx.ai", "mistral-large"),
            (None, "mistral-large"),
            (None, "deepseek-r1:8b"),
            (None, "google/gemma-3-27b-it"),
            (None, "command-r"),
            (None, "llama3"),
            (None, "unknown"),
            (None, ""),
            ("azure.ai.openai", "our-deployment"),
            ("aws.bedrock", "arn:aws:bedrock:eu-west-1:1234:provisioned-model/x1y2z3"),
        ],
    )
    def test_what_nobody_is_known_to_sell_has_no_price(self, provider: str | None, model: str) -> None:
        assert price(provider, model) is None

    @given(st.none() | st.text(max_size=30), st.text(max_size=60))
    @settings(max_examples=100, deadline=None)
    def test_any_name_is_looked_up_without_harm(self, provider: str | None, model: str) -> None:
        for seller, name in find_offers(provider, model):
            assert find_provider(seller)
            assert name
        price(provider, model)


class TestUnpriced:
    @pytest.mark.parametrize(
        ("model", "usage"),
        [
            ("gpt-4o", {"total_tokens": 10}),  # which of it was output?
            ("text-embedding-3-small", {"input_tokens": 10, "output_tokens": 1}),
            ("gpt-4o", {"input_tokens": 10, "cache_read_input_tokens": 11}),
            ("whisper-1", {"input_tokens": 10}),
        ],
    )
    def test_tokens_without_a_price_make_the_call_unpriced(self, model: str, usage: dict[str, int]) -> None:
        assert price("openai", model, usage) is None


class TestCustomPrices:
    def read(self, prices: object) -> str:
        return resolve({"prices": prices}, {}).settings.prices

    def test_they_go_before_the_shipped_ones_and_by_name_before_patterns(self) -> None:
        text = self.read(
            {
                "*": {"input": 9, "output": 9},
                "acme-*": {"input": 1, "output": 2},
                "Acme-Large": {"input": 0.1, "output": 0.3, "cache_read": 0.01, "cache_write": 0.2},
                "gpt-4o": {"input": 7, "provider": "azure"},
            }
        )
        usage = {"input_tokens": 10, "output_tokens": 3}
        large = {**usage, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1}
        assert price("vllm", "acme-large", large, prices=text) == Cost(
            1.64e-6,  # 5 at 0.1, 4 at 0.01, 1 at 0.2, 3 at 0.3 a million
            7.4e-7,
            9e-7,
            "config",
            "2026-11-20",
            "acme-large",
            "vllm",
        )
        small = price(None, "acme-small", usage, prices=text)
        assert small is not None
        assert (small.total_usd, small.model) == (1.6e-5, "acme-*")
        for provider, usd in (("openai", 9e-5), ("azure.ai.openai", 7e-5)):
            other = price(provider, "gpt-4o", {"input_tokens": 10}, prices=text)
            assert other is not None
            assert other.total_usd == usd

    def test_a_price_of_input_only_leaves_output_unpriced(self) -> None:
        text = self.read({"embedder": {"input": 1}})
        assert price(None, "embedder", {"input_tokens": 5}, prices=text) is not None
        assert price(None, "embedder", {"input_tokens": 5, "output_tokens": 1}, prices=text) is None

    def test_the_environment_has_them_as_json(self) -> None:
        environ = {"OTEL_WANDB_PRICES": '{"acme": {"output": 2, "input": 1.5}}'}
        assert resolve({}, environ).settings.prices == '{"acme":{"input":1.5,"output":2.0}}'

    @pytest.mark.parametrize(
        ("prices", "problem"),
        [
            ("acme", "JSON is malformed"),
            (["acme"], "expected a mapping of models"),
            ({"acme": {"inputs": 1}}, "acme: Object contains unknown field `inputs`"),
            ({"acme": {}}, "acme: expected at least one of input, output, cache_read, cache_write"),
            ({"acme": {"input": -1}}, "acme: expected prices of 0 or more"),
            ({"acme": {"input": "free"}}, "acme: Expected `float | null`, got `str`"),
        ],
    )
    def test_a_mistake_is_an_error_that_says_where(self, prices: object, problem: str) -> None:
        with pytest.raises(ConfigError, match="prices cannot be read") as caught:
            self.read(prices)
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "usd"),
    [
        ({"operation.cost": 0.25}, 0.25),
        ({"gen_ai.cost.total_cost": "0.5"}, 0.5),
        ({"gen_ai.usage.cost": 0}, None),
        ({"llm.cost.total": 1}, 1.0),
        ({"langfuse.observation.cost_details": '{"input": 1, "output": 2, "total": 3}'}, 3.0),
        ({"mlflow.llm.cost": '{"input_cost": 1.5, "total_cost": 4.5}'}, 4.5),
        ({"mlflow.llm.cost": '{"input_cost": 1.5}'}, None),
    ],
)
def test_the_cost_that_a_producer_tells_is_kept_apart(attributes: Attributes, usd: float | None) -> None:
    facts = read_facts({"gen_ai.operation.name": "chat", **attributes})
    assert facts.get("provider_cost_usd") == usd
    assert not set(attributes) & set(facts.get("rest", {}))
