/** Reads passages from files. */

import papaparse from "papaparse";

/**
 * Names of fields and columns that hold the text, in order of preference. If there is none of them,
 * the one with the longest texts is used.
 */
const TEXT_FIELDS = ["text", "passage", "content", "body", "document", "abstract", "description"];

const EXTENSIONS = ["txt", "md", "json", "jsonl", "ndjson", "csv", "tsv"];

/** The passages of a file. Its extension determines the format. */
export async function readDocuments(name: string, blob: Blob): Promise<string[]> {
  const extension = /\.(\w+)$/.exec(name)?.[1]?.toLowerCase();
  if (extension !== undefined && !EXTENSIONS.includes(extension)) {
    throw new Error(`${name} cannot be read: choose a file that ends with .${EXTENSIONS.join(", .")}.`);
  }
  const content = await blob.text();
  const passages = parse(name, content)
    .map((passage) => passage.trim())
    .filter((passage) => passage !== "");
  if (passages.length === 0) {
    throw new Error(
      `${name} has no texts: it must be a .txt or .md file with a passage a line or a paragraph, a .jsonl file with a field “text”, or a .csv file with a column “text”.`,
    );
  }
  return passages;
}

function parse(name: string, content: string): string[] {
  const extension = /\.(\w+)$/.exec(name)?.[1]?.toLowerCase();
  if (extension === "jsonl" || extension === "ndjson") return fromRecords(jsonLines(name, content));
  if (extension === "json") return fromRecords(jsonList(name, content));
  if (extension === "csv" || extension === "tsv") {
    const { data } = papaparse.parse<Record<string, unknown>>(content, {
      header: true,
      skipEmptyLines: "greedy",
    });
    return fromRecords(data);
  }
  const paragraphs = content.split(/\n\s*\n/);
  // In a file without empty lines each line is a passage.
  return paragraphs.length > 1
    ? paragraphs.map((paragraph) => paragraph.replace(/^#+\s+/, ""))
    : content.split("\n");
}

function jsonList(name: string, content: string): unknown[] {
  let list: unknown;
  try {
    list = JSON.parse(content);
  } catch (error) {
    throw new Error(`${name} is not JSON: ${(error as Error).message}. Correct it, or choose another file.`);
  }
  if (!Array.isArray(list))
    throw new Error(`${name} must be a JSON array of texts, or of objects with a field “text”.`);
  return list;
}

function jsonLines(name: string, content: string): unknown[] {
  return content
    .split("\n")
    .map((line, index) => ({ line: line.trim(), number: index + 1 }))
    .filter(({ line }) => line !== "")
    .map(({ line, number }) => {
      try {
        return JSON.parse(line) as unknown;
      } catch (error) {
        throw new Error(
          `Line ${number} of ${name} is not JSON: ${(error as Error).message}. Correct or remove it.`,
        );
      }
    });
}

/** The texts of records. A record is a string, or an object with a string in some field. */
function fromRecords(records: unknown[]): string[] {
  const objects = records.filter((record) => typeof record === "object" && record !== null);
  const field = textField(objects as Record<string, unknown>[]);
  return records.flatMap((record) => {
    const text = typeof record === "string" ? record : (record as Record<string, unknown> | null)?.[field];
    return typeof text === "string" ? [text] : [];
  });
}

function textField(records: Record<string, unknown>[]): string {
  const lengths = new Map<string, number>();
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) {
      if (typeof value === "string") lengths.set(name, (lengths.get(name) ?? 0) + value.length);
    }
  }
  const known = TEXT_FIELDS.find((name) => lengths.has(name));
  const [longest] = [...lengths].sort(([, a], [, b]) => b - a);
  return known ?? longest?.[0] ?? "text";
}
