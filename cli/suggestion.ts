// Which word somebody meant who mistyped it: by the number of letters to add, drop, change or swap (Damerau, Levenshtein).

/** Letters that may be wrong, at most a third of the word. */
const MAX_DISTANCE = 2;

/** The word that is closest to `typed`; nothing when none is close. */
export function suggest(typed: string, words: readonly string[]): string | undefined {
  const limit = Math.min(MAX_DISTANCE, Math.ceil(typed.length / 3));
  const near = words
    .map((word) => ({ word, distance: distance(typed, word) }))
    .filter((candidate) => candidate.distance <= limit)
    .sort((a, b) => a.distance - b.distance);
  return near[0]?.word;
}

function distance(a: string, b: string): number {
  // Row i has the distances of the first i letters of `a` from each beginning of `b`.
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

/** A number of a row that is known to have it. */
function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}
