// What a machine process writes to its stderr: with --console the bytes of the guest's serial
// console, which a hostile guest chooses, and beside them its own log.
import { StringDecoder } from 'node:string_decoder';

/**
 * Control characters, surrogates without a partner, and the characters that change the direction of
 * text. A newline, a tab and a carriage return before a newline are harmless: lines end with both.
 */
const HARMFUL = /(?![\n\t]|\r\n)[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

/** Makes the stream harmless for a terminal, and for a log that is shown on one. */
export class ConsoleText {
  readonly #decoder = new StringDecoder('utf8');
  /** A carriage return whose next character has not come. */
  #held = '';

  /** The text of the next bytes, with harmful characters as escapes: `\x1b`, `\u202e`. */
  write(bytes: Buffer): string {
    const text = this.#held + this.#decoder.write(bytes);
    this.#held = text.endsWith('\r') ? '\r' : '';
    return text.slice(0, text.length - this.#held.length).replace(HARMFUL, escaped);
  }
}

function escaped(character: string): string {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
}
