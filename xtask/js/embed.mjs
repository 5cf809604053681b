// Embeds texts with the built package: node embed.mjs FOLDER NAME DTYPE dense|sparse TEXT…

import { load } from "../../pkg/dist/node.js";

const [folder, model, dtype, kind, ...texts] = process.argv.slice(2);

try {
  const embedder = await load(folder, { dtype });
  const response =
    kind === "sparse"
      ? await embedder.embedSparse({ inputs: texts })
      : await embedder.embeddings.create({ input: texts, model });
  console.log(JSON.stringify(response, null, 2));
  embedder.dispose();
} catch (error) {
  console.error(`${error.code ?? "error"}: ${error.message}`);
  process.exitCode = 1;
}
