import { Embedder } from "./embedder";

export default function Page() {
  return <Embedder />;
}
