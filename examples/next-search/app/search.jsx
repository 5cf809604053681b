"use client";

import { load, topK } from "gossamer-embed";
import { useEffect, useState } from "react";

/** A client component: the model runs in the visitor's browser, in a worker. */
export function Search({ passages }) {
  const [search, setSearch] = useState();
  const [hits, setHits] = useState([]);

  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const loading = load("sentence-transformers/all-MiniLM-L6-v2", { workers: 1, signal });
    const start = async () => {
      const embedder = await loading;
      const index = await embedder.encode(passages, { task: "document", signal });
      const find = async (query) => topK(await embedder.encode(query, { task: "query" }), index, 3);
      setSearch(() => find);
    };
    start().catch((error) => signal.aborted || console.error(error));
    return () => {
      controller.abort();
      loading.then((embedder) => embedder.dispose()).catch(() => {});
    };
  }, [passages]);

  const submit = async (event) => {
    event.preventDefault();
    setHits(await search(new FormData(event.currentTarget).get("query")));
  };
  return (
    <form onSubmit={submit}>
      <label>
        Query <input name="query" defaultValue="boats in the evening" required />
      </label>
      <button type="submit" disabled={!search}>
        Search
      </button>
      <ol>
        {hits.map(({ index, score }) => (
          <li key={index}>
            {score.toFixed(2)} {passages[index]}
          </li>
        ))}
      </ol>
    </form>
  );
}
