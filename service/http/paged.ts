// Pages of a list, each of which begins behind the last record of the one before.

export interface Paged<T> {
  page: T[];
  /** The ID of the last record, if there are more. */
  next: string | undefined;
}

/** @param list gives so many records at most */
export function pageOf<T extends { id: string }>(limit: number, list: (most: number) => T[]): Paged<T> {
  // One more tells whether there is another page.
  const found = list(limit + 1);
  const page = found.slice(0, limit);
  return { page, next: found.length > page.length ? page.at(-1)?.id : undefined };
}
