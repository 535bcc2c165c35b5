// Vercel's AI SDK 7: OpenTelemetry's GenAI, with a step between the agent and each call.
const REQUIREMENTS = ["ai@7", "@ai-sdk/openai@4", "@ai-sdk/otel", "zod@3.25", "@opentelemetry/api", "@opentelemetry/sdk-trace-node", "@opentelemetry/exporter-trace-otlp-http", "@opentelemetry/resources"];
const SPANS = {"^chat ": "chat", "^embeddings ": "embeddings", "^execute_tool": "tool", "^invoke_agent": "agent", "": "any"};
const CASES = ["chat", "stream", "tools", "error", "embeddings"];

import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { createOpenAI } from "@ai-sdk/openai";
import { OpenTelemetry } from "@ai-sdk/otel";
import * as ai from "ai";
import { z } from "zod";

const MODEL_URL = `http://127.0.0.1:${process.env.RECORDINGS_MODEL_PORT}`;
const OTLP_URL = `http://127.0.0.1:${process.env.RECORDINGS_OTLP_PORT}`;
const SYSTEM = "You are a terse geographer.";
const CAPITAL = "What is the capital of Portugal?";
const WEATHER = "What is the weather in Lisbon?";
const TEXTS = ["Lake Baikal in Siberia is 1642 metres deep.", "Lake Tanganyika is 1470 metres deep."];

const exporter = new OTLPTraceExporter({ url: `${OTLP_URL}/v1/traces` });
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "recordings" }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
provider.register();

const openai = createOpenAI({ apiKey: "recordings-key", baseURL: `${MODEL_URL}/v1` });
const model = openai.chat("gpt-4o-mini");
ai.registerTelemetry(new OpenTelemetry());
const common = { maxRetries: 0, telemetry: { functionId: "geo" } };

const note = (kind, facts) =>
  fetch(`${MODEL_URL}/notes`, { method: "POST", body: JSON.stringify({ kind, ...facts }) });

const getWeather = ai.tool({
  description: "The weather in a city now.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    const result = `21 degrees, cloudy in ${city}`;
    await note("tool", { name: "get_weather", arguments: { city }, result });
    return result;
  },
});

const cases = {
  async chat() {
    await note("asked", { text: CAPITAL });
    const options = { temperature: 0.3, maxOutputTokens: 100, topP: 0.9, seed: 11 };
    const { text } = await ai.generateText({ model, instructions: SYSTEM, prompt: CAPITAL, ...options, ...common });
    await note("answered", { text });
  },
  async stream() {
    await note("asked", { text: CAPITAL });
    const { textStream } = ai.streamText({ model, messages: [{ role: "user", content: CAPITAL }], ...common });
    let text = "";
    for await (const piece of textStream) text += piece;
    await note("answered", { text });
  },
  async tools() {
    await note("asked", { text: WEATHER });
    const options = { tools: { get_weather: getWeather }, stopWhen: ai.isStepCount(3) };
    const { text } = await ai.generateText({ model, prompt: WEATHER, ...options, ...common });
    await note("answered", { text });
  },
  async error() {
    await ai.generateText({ model, prompt: "Please fail with 429.", ...common });
  },
  async embeddings() {
    await ai.embedMany({ model: openai.embeddingModel("text-embedding-3-small"), values: TEXTS, ...common });
  },
};

try {
  await cases[process.argv[2]]();
} catch (error) {
  if (process.argv[2] !== "error") throw error;
} finally {
  await provider.shutdown();
}
