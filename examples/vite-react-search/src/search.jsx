import { topK } from "gossamer-embed";
import { useEffect, useState } from "react";
import { useEmbedder } from "./use-embedder.js";

const MODEL = "sentence-transformers/all-MiniLM-L6-v2";

/** Finds passages by meaning while one types. */
export function Search({ passages }) {
  const { embedder, progress, error } = useEmbedder(MODEL);
  const [query, setQuery] = useState("boats in the evening");
  const index = useVectors(embedder, passages, "document");
  const vector = useVectors(embedder, query, "query");
  const hits = index && vector ? topK(vector, index, 3) : [];

  if (error) return <p role="alert">{error.message}</p>;
  if (!embedder) return <progress aria-label="Loading the model" max="100" value={progress ?? 0} />;
  return (
    <>
      <label>
        Query <input type="search" value={query} onChange={(event) => setQuery(event.target.value)} />
      </label>
      <ol>
        {hits.map(({ index, score }) => (
          <li key={index}>
            {score.toFixed(2)} {passages[index]}
          </li>
        ))}
      </ol>
    </>
  );
}

/** The vectors of a text or of several; undefined until they are there. */
function useVectors(embedder, texts, task) {
  const [vectors, setVectors] = useState();
  useEffect(() => {
    if (!embedder || texts.length === 0) return setVectors(undefined);
    const controller = new AbortController();
    embedder
      .encode(texts, { task, signal: controller.signal })
      .then(setVectors)
      // A newer text, or a page that has gone, aborts the call.
      .catch((error) => controller.signal.aborted || console.error(error));
    return () => controller.abort();
  }, [embedder, texts, task]);
  return vectors;
}
