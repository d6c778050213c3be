// Suggests the word that a mistyped one stands for, by the Damerau-Levenshtein distance: the number
// of letters to add, drop, change or swap.

/** Letters that may be wrong; also at most a third of the word. */
const MAX_DISTANCE = 2;

/** The word that is closest to `typed`; undefined if none is close. */
export function suggest(typed: string, words: readonly string[]): string | undefined {
  const limit = Math.min(MAX_DISTANCE, Math.ceil(typed.length / 3));
  const near = words
    .map((word) => ({ word, distance: distance(typed, word) }))
    .filter((candidate) => candidate.distance <= limit)
    .sort((a, b) => a.distance - b.distance);
  return near[0]?.word;
}

function distance(a: string, b: string): number {
  // Row i holds the distances between the first i letters of `a` and each prefix of `b`.
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(beforeLast, j - 2) + 1 : changed;
      row.push(Math.min(at(last, j) + 1, at(row, j - 1) + 1, changed, swapped));
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

/** The number in a column of a row. Callers stay within the row. */
function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}
