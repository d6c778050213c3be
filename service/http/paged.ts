// Pages of a list, each of which begins behind the last record of the one before.
import { z } from 'zod';

export interface Paged<T> {
  page: T[];
  /** Where the next page begins, if there are more. */
  next: string | undefined;
}

/**
 * Bytes of the records of a page, as JSON. Records may have a million bytes each: without a bound, a
 * page of them would keep the server from all others for half a second.
 */
export const MAX_PAGE = 2 ** 20;

export const limitSchema = z.coerce
  .number()
  .int()
  .min(1)
  .max(100)
  .default(50)
  .describe('The most records of a page. It has fewer if they are large: 1 MiB together, or one record');

/**
 * Takes records as long as they fit a page. The first one always does.
 * @param list gives so many records at most. What is not taken of it is not read.
 * @param cursor where the list goes on behind a record
 */
export function pageOf<T>(limit: number, list: (most: number) => Iterable<T>, cursor: (last: T) => string): Paged<T> {
  const page: T[] = [];
  let bytes = 0;
  // One more tells whether there is another page.
  for (const record of list(limit + 1)) {
    bytes += Buffer.byteLength(JSON.stringify(record));
    const last = page.at(-1);
    const isFull = page.length === limit || bytes > MAX_PAGE;
    if (isFull && last !== undefined) return { page, next: cursor(last) };
    page.push(record);
  }
  return { page, next: undefined };
}
