// Chooses what a history of bounded size keeps when its lines come from parties that do not trust
// each other.

export interface FairnessOptions {
  /** The party that a line is of. A line of none is dropped. */
  groupOf: (line: string) => string | undefined;
  /** The most bytes kept, with a newline for each line. */
  budget: number;
}

/** Bytes that each party may keep however many there are, if the budget lasts. */
const FLOOR = 4096;

/**
 * Returns the lines to keep, in their order. While the lines take more than the budget, the parties
 * with the most bytes lose their oldest ones. A party with less than an equal share loses nothing.
 * If there are so many parties that an equal share is below FLOOR, the oldest lines of all go too.
 */
export function keepFairly(lines: readonly string[], { groupOf, budget }: FairnessOptions): string[] {
  const sized = lines.flatMap((line) => {
    const group = groupOf(line);
    return group === undefined ? [] : [{ line, group, size: Buffer.byteLength(line) + 1 }];
  });
  const sizes = new Map<string, number>();
  for (const { group, size } of sized) sizes.set(group, (sizes.get(group) ?? 0) + size);
  const share = Math.max(FLOOR, equalShare([...sizes.values()], budget));
  const left = new Map<string, number>();
  let room = budget;
  const kept: string[] = [];
  for (const { line, group, size } of sized.reverse()) {
    const rest = (left.get(group) ?? share) - size;
    // What is older than a dropped line is dropped too, so that each party's history has no gap.
    left.set(group, rest < 0 ? Number.NEGATIVE_INFINITY : rest);
    if (rest < 0) continue;
    room -= size;
    if (room < 0) break;
    kept.push(line);
  }
  return kept.reverse();
}

/**
 * The highest share at which parties that want `sizes`, none more than the share, fit the budget.
 */
function equalShare(sizes: number[], budget: number): number {
  sizes.sort((a, b) => a - b);
  let rest = budget;
  for (const [index, size] of sizes.entries()) {
    const share = Math.floor(rest / (sizes.length - index));
    if (size > share) return share;
    rest -= size;
  }
  return Number.POSITIVE_INFINITY;
}
