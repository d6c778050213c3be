// Parses header fields with numbers. Parsing is strict: the server may be hostile.

/**
 * The range of an answer to a Range request, in bytes. `last` is inclusive; `size` is null if
 * unknown.
 */
interface ContentRange {
  first: number;
  last: number;
  size: number | null;
}

/** Parses a Content-Range header (RFC 9110, 14.4). Returns null if it has no byte range. */
export function parseContentRange(header: string): ContentRange | null {
  const match = /^bytes[ \t]+(\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(header);
  if (!match) return null;
  const range = { first: Number(match[1]), last: Number(match[2]), size: match[3] === '*' ? null : Number(match[3]) };
  return range.first <= range.last && (range.size === null || range.last < range.size) ? range : null;
}

/**
 * Parses the Range header by which a registry says what it has of an upload: `0-` and its last byte
 * (OCI distribution-spec 1.1, "Pushing a blob in chunks").
 *
 * @returns the number of bytes, or null if the header has another form. A registry that has none
 *   says `0-0`, which is 1 here.
 */
export function parseUploadRange(header: string): number | null {
  const last = /^(?:bytes=)?0-(\d{1,15})$/i.exec(header)?.[1];
  return last === undefined ? null : Number(last) + 1;
}

/** Parses a Content-Length header, in bytes. Returns null if it is absent or not a number. */
export function parseContentLength(header: string | undefined): number | null {
  return header !== undefined && /^\d{1,15}$/.test(header) ? Number(header) : null;
}

/**
 * Parses a Retry-After header (RFC 9110, 10.2.3): seconds, or a date.
 *
 * @param now milliseconds since 1970
 * @returns milliseconds from `now`, at least 0; null if the header is neither
 */
export function parseRetryAfter(header: string, now: number): number | null {
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  if (!/^[A-Za-z]{3,9}, /.test(header)) return null;
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}
