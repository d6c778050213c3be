// Header fields whose numbers are used: each is read strictly, for a stranger wrote it.

/** The range of an answer to a Range request, bytes; `last` included, `size` null where the server does not know it. */
interface ContentRange {
  first: number;
  last: number;
  size: number | null;
}

/** Reads a Content-Range header (RFC 9110, 14.4); null if it gives no range of bytes. */
export function parseContentRange(header: string): ContentRange | null {
  const match = /^bytes[ \t]+(\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(header);
  if (!match) return null;
  const range = { first: Number(match[1]), last: Number(match[2]), size: match[3] === '*' ? null : Number(match[3]) };
  return range.first <= range.last && (range.size === null || range.last < range.size) ? range : null;
}

/** Reads a Content-Length header, bytes; null if it is absent or no number. */
export function parseContentLength(header: string | undefined): number | null {
  return header !== undefined && /^\d{1,15}$/.test(header) ? Number(header) : null;
}

/**
 * Reads a Retry-After header (RFC 9110, 10.2.3): seconds, or a date.
 *
 * @returns milliseconds from `now`, not negative; null if the header is neither
 */
export function parseRetryAfter(header: string, now: number): number | null {
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  if (!/^[A-Za-z]{3,9}, /.test(header)) return null;
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}
