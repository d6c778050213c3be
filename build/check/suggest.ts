// Suggests the name that a mistyped one stands for, as BuildKit does: the closest by the
// Levenshtein distance, at most two letters away.

const MAX_DISTANCE = 2;
/** Names that are compared, at most: a Dockerfile may have a million. */
const MAX_NAMES = 1000;
/** Characters of a name that is compared. */
const MAX_LENGTH = 64;

/** Returns ` (did you mean NAME?)`, or '' if no name is close. */
export function didYouMean(typed: string, names: Iterable<string>, prefix = ''): string {
  const closest = closestName(typed, names);
  return closest === undefined ? '' : ` (did you mean ${prefix}${closest}?)`;
}

function closestName(typed: string, names: Iterable<string>): string | undefined {
  if (typed.length > MAX_LENGTH) return undefined;
  let closest: string | undefined;
  let least = MAX_DISTANCE + 1;
  let count = 0;
  for (const name of names) {
    if (name === typed) return undefined;
    if (++count > MAX_NAMES) break;
    const distance = boundedDistance(typed, name);
    if (distance < least) [closest, least] = [name, distance];
  }
  return closest;
}

/** The distance, or infinity if it is above the maximum: takes time in the length of a word. */
function boundedDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > MAX_DISTANCE) return Number.POSITIVE_INFINITY;
  const width = 2 * MAX_DISTANCE + 1;
  // Row i has the distances of the first i letters of `a` to the first i - 2 to i + 2 of `b`.
  let last = Array.from({ length: width }, (_, k) => (k < MAX_DISTANCE ? Number.POSITIVE_INFINITY : k - MAX_DISTANCE));
  for (let i = 1; i <= a.length; i++) {
    const row: number[] = [];
    for (let k = 0; k < width; k++) {
      const j = i + k - MAX_DISTANCE;
      if (j < 0 || j > b.length) {
        row.push(Number.POSITIVE_INFINITY);
        continue;
      }
      const changed = j === 0 ? Number.POSITIVE_INFINITY : cell(last, k) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(changed, cell(last, k + 1) + 1, cell(row, k - 1) + 1));
    }
    if (Math.min(...row) > MAX_DISTANCE) return Number.POSITIVE_INFINITY;
    last = row;
  }
  return cell(last, b.length - a.length + MAX_DISTANCE);
}

function cell(row: readonly number[], k: number): number {
  return row[k] ?? Number.POSITIVE_INFINITY;
}
