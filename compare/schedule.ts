// The order of measuring: all levels in each round, in Williams's design (Experimental designs balanced
// for the estimation of residual effects of treatments, 1949). Over a full turn of rounds, each level
// stands at each place equally often, so what changes slowly (temperature, other work) changes all of
// them. Each follows each other one equally often, too: what a level leaves behind, such as cold caches
// or a processor that sleeps, falls on no other one alone.

/**
 * The order of a round. A full turn is as many rounds as there are levels, or twice as many if these
 * are odd.
 * @param round 0 for the first
 */
export function orderOf<T>(levels: readonly T[], round: number): T[] {
  const count = levels.length;
  const turn = count % 2 === 0 ? round : Math.floor(round / 2);
  // From one place to the next, no two distances are the same: 0, 1, -1, 2, -2 and so on.
  const places = levels.map((_, place) => (place % 2 === 0 ? count - place / 2 : (place + 1) / 2));
  const order = places.map((place) => levels[(place + turn) % count]!);
  return count % 2 === 1 && round % 2 === 1 ? order.reverse() : order;
}
