// The headers before an entry's own header, for values that do not fit into it: PAX records ('x'),
// GNU long names ('L') and long link targets ('K'). Their bodies arrive in pieces. Their size is
// checked before they are kept.

import { ImageError } from '../errors.js';
import { MAX_EXTENDED_HEADER_BYTES } from '../limits.js';
import { BLOCK_SIZE, type TarHeader } from './header.js';
import { type PaxRecords, parsePax } from './pax.js';

/** The values of one entry's extended headers. */
export interface Extension {
  pax: PaxRecords;
  longName: string | null;
  longLink: string | null;
}

export class ExtendedHeaders {
  #extension = empty();
  #typeflag = '';
  #body: Buffer[] = [];
  #bytes = 0;

  /** True if an entry has to follow. */
  get pending(): boolean {
    return this.#bytes > 0;
  }

  static is(typeflag: string): boolean {
    return /^[xXgLK]$/.test(typeflag);
  }

  /** @throws ImageError `too-large` */
  begin(header: TarHeader): void {
    this.#bytes += BLOCK_SIZE + header.size;
    if (this.#bytes > MAX_EXTENDED_HEADER_BYTES) {
      throw new ImageError('too-large', `an entry's extended headers exceed ${MAX_EXTENDED_HEADER_BYTES} bytes`);
    }
    this.#typeflag = header.typeflag;
    this.#body = [];
  }

  append(bytes: Buffer): void {
    this.#body.push(Buffer.from(bytes));
  }

  /** @throws ImageError `corrupt` */
  end(): void {
    const body = Buffer.concat(this.#body);
    this.#body = [];
    switch (this.#typeflag) {
      case 'x':
      case 'X':
        this.#extension.pax = parsePax(body);
        break;
      case 'L':
        this.#extension.longName = cString(body);
        break;
      case 'K':
        this.#extension.longLink = cString(body);
        break;
      default:
        // Global headers are checked but have no effect, as in every other reader of layers.
        parsePax(body);
        this.#bytes = 0;
    }
  }

  /** Returns the values for the current entry, and forgets them. */
  take(): Extension {
    const extension = this.#extension;
    this.#extension = empty();
    this.#bytes = 0;
    return extension;
  }
}

function empty(): Extension {
  return { pax: {}, longName: null, longLink: null };
}

function cString(body: Buffer): string {
  const end = body.indexOf(0);
  return body.toString('latin1', 0, end === -1 ? body.length : end);
}
