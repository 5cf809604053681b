import { load } from "gossamer-embed";
import { useEffect, useState } from "react";

/** Loads a model in a worker: `{ embedder }`, or `{ progress }` or `{ error }` without one. */
export function useEmbedder(source) {
  const [state, setState] = useState({ progress: 0 });
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const onProgress = ({ status, progress }) => {
      if (status === "progress_total" && !signal.aborted) setState({ progress });
    };
    const loading = load(source, { workers: 1, signal, onProgress });
    loading.then(
      (embedder) => !signal.aborted && setState({ embedder }),
      (error) => !signal.aborted && setState({ error }),
    );
    return () => {
      controller.abort();
      loading.then((embedder) => embedder.dispose()).catch(() => {});
    };
  }, [source]);
  return state;
}
