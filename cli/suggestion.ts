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
  const rows = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, changed);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}
