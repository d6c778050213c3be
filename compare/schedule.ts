// The order of measuring: all levels in each round, and each round begins with the next one. So what
// changes slowly (temperature, other work) changes all levels, and none is always the first.

/** @param round 0 for the first */
export function orderOf<T>(levels: readonly T[], round: number): T[] {
  const first = levels.length === 0 ? 0 : round % levels.length;
  return [...levels.slice(first), ...levels.slice(0, first)];
}
