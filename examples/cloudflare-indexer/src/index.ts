/** Documents out of a queue into a dense and a sparse index, and searches over both. */

import { type Embedder, GossamerError, load } from "gossamer-embed";

interface Env {
  /** A folder for each model: `minilm/config.json`, `splade/config.json`, … */
  MODELS: R2Bucket;
  VECTORS: Vectorize;
  DB: D1Database;
  /**
   * Takes messages that can never be indexed; those that fail too often get there by themselves.
   */
  DEAD_LETTERS: Queue;
  /** Seconds before a second attempt; they double with each. */
  RETRY_SECONDS: number;
}

/** A message of the queue. */
interface Document {
  id: string;
  text: string;
  metadata?: Record<string, VectorizeVectorMetadata>;
}

/**
 * Entries of a document's sparse vector that are kept: each is a row of the database, the light
 * ones add little.
 */
const TERMS = 128;

const loaded = new Map<string, Promise<Embedder>>();

/** One load for an isolate. */
function model({ MODELS }: Env, name: "minilm" | "splade"): Promise<Embedder> {
  const known = loaded.get(name);
  if (known) return known;
  const embedder = load((file) => MODELS.get(`${name}/${file}`));
  loaded.set(name, embedder);
  // The next batch tries again.
  embedder.catch(() => loaded.delete(name));
  return embedder;
}

export default {
  async queue(batch: MessageBatch<unknown>, env: Env): Promise<void> {
    const documents: Message<Document>[] = [];
    for (const message of batch.messages) {
      const flaw = flawOf(message.body);
      if (flaw) await bury(message, flaw, env);
      else documents.push(message as Message<Document>);
    }
    const fresh = documents.filter(({ attempts }) => attempts === 1);
    await index(fresh, env);
    // What has failed before goes alone, so that no document pays for another.
    for (const message of documents) if (message.attempts > 1) await index([message], env);
  },

  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const query = searchParams.get("q");
    if (pathname !== "/search" || !query) {
      return Response.json({ error: "ask for /search?q=…, with limit=10 perhaps" }, { status: 404 });
    }
    return Response.json(await search(query, Number(searchParams.get("limit") ?? 10), env));
  },
};

/** Why a message can never be indexed, if so. */
function flawOf(body: unknown): string | undefined {
  if (typeof body !== "object" || body === null) return "is no document { id, text, metadata }";
  const { id, text, metadata = {} } = body as Partial<Record<keyof Document, unknown>>;
  const bytes = (text: string) => new TextEncoder().encode(text).byteLength;
  // The limits of Vectorize.
  if (typeof id !== "string" || id === "" || bytes(id) > 64) return "needs an id of 1 to 64 bytes";
  if (typeof text !== "string" || text.trim() === "") return "has no text";
  if (typeof metadata !== "object" || metadata === null || bytes(JSON.stringify(metadata)) > 10_240) {
    return "has metadata that is no object of at most 10 KiB";
  }
  return undefined;
}

/** Indexes all or none of some messages, and says so to the queue. */
async function index(messages: readonly Message<Document>[], env: Env): Promise<void> {
  if (messages.length === 0) return;
  try {
    await store(await newest(messages, env), env);
    for (const message of messages) message.ack();
  } catch (error) {
    // The one thing that may be wrong with a text. The model is to see all of it, or none.
    const refused = error instanceof GossamerError && error.code === "input_too_long";
    const [first, ...others] = messages as [Message<Document>];
    if (refused && others.length === 0) return bury(first, error.message, env);
    if (refused) {
      for (const message of messages) await index([message], env);
      return;
    }
    console.error(`not indexed yet, documents ${messages.map(({ body }) => body.id).join(", ")}: ${error}`);
    for (const message of messages) retry(message, env);
  }
}

/** Tries again later, so often as the queue allows; then it is in the dead-letter queue. */
function retry(message: Message, { RETRY_SECONDS }: Env): void {
  message.retry({ delaySeconds: Math.min(RETRY_SECONDS * 2 ** (message.attempts - 1), 43_200) });
}

/** Puts a message into the dead-letter queue at once. */
async function bury(message: Message, flaw: string, env: Env): Promise<void> {
  console.error(`message ${message.id} ${flaw}`);
  try {
    await env.DEAD_LETTERS.send(message.body, { contentType: "v8" });
    message.ack();
  } catch {
    retry(message, env);
  }
}

/**
 * The newest version of each document, unless a newer one is indexed: messages come in any order,
 * and more than once.
 */
async function newest(
  messages: readonly Message<Document>[],
  { DB }: Env,
): Promise<(Document & { sent: number })[]> {
  const versions = messages.map(({ body, timestamp }) => ({ ...body, sent: timestamp.getTime() }));
  versions.sort((a, b) => a.sent - b.sent);
  const documents = new Map(versions.map((document) => [document.id, document]));
  const { results } = await DB.prepare(
    "SELECT id, sent FROM documents WHERE id IN (SELECT value FROM json_each(?))",
  )
    .bind(JSON.stringify([...documents.keys()]))
    .all<{ id: string; sent: number }>();
  for (const { id, sent } of results) if (sent > (documents.get(id)?.sent ?? 0)) documents.delete(id);
  return [...documents.values()];
}

/** Embeds documents and writes them to both indexes. To do it again changes nothing. */
async function store(documents: readonly (Document & { sent: number })[], env: Env): Promise<void> {
  if (documents.length === 0) return;
  const texts = documents.map(({ text }) => text);
  const options = { task: "document", truncate: false };
  const dense = await (await model(env, "minilm")).encode(texts, options);
  const sparse = await (await model(env, "splade")).encodeSparse(texts, { ...options, topK: TERMS });
  const width = dense.shape[1];
  await env.VECTORS.upsert(
    documents.map(({ id, metadata = {} }, i) => ({
      id,
      values: dense.data.slice(i * width, (i + 1) * width),
      metadata,
    })),
  );
  const rows = documents.map(({ id, text, metadata = {}, sent }, i) => {
    const { indices = [], values = [] } = sparse[i] ?? {};
    return { id, text, metadata, sent, terms: Array.from(indices, (term, j) => [term, values[j]]) };
  });
  const statements = [
    "DELETE FROM postings WHERE id IN (SELECT value->>'id' FROM json_each(?))",
    `INSERT INTO postings SELECT entry.value->>0, document.value->>'id', entry.value->>1
      FROM json_each(?) AS document, json_each(document.value->'terms') AS entry`,
    `REPLACE INTO documents
      SELECT value->>'id', value->>'text', value->'metadata', value->>'sent' FROM json_each(?)`,
  ];
  // One transaction.
  await env.DB.batch(statements.map((statement) => env.DB.prepare(statement).bind(JSON.stringify(rows))));
}

/** The best documents by each index. */
async function search(query: string, limit: number, env: Env) {
  const { data } = await (await model(env, "minilm")).encode(query, { task: "query" });
  const [sparse] = await (await model(env, "splade")).encodeSparse(query, { task: "query" });
  const { indices = [], values = [] } = sparse ?? {};
  const { matches } = await env.VECTORS.query(data, { topK: limit, returnMetadata: "all" });
  const { results } = await env.DB.prepare(
    `SELECT postings.id, SUM(weight * (entry.value->>1)) AS score FROM json_each(?) AS entry
      JOIN postings ON term = entry.value->>0 GROUP BY postings.id ORDER BY score DESC LIMIT ?`,
  )
    .bind(JSON.stringify(Array.from(indices, (term, i) => [term, values[i]])), limit)
    .all();
  return { dense: matches, sparse: results };
}
