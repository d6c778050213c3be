// What a machine process writes to its stderr: with --console the bytes of the guest's serial
// console, which a hostile guest chooses, and beside them its own log.
import { StringDecoder } from 'node:string_decoder';
import { escapedText } from '../../printable/index.js';

/** Makes the stream harmless for a terminal, and for a log that is shown on one. */
export class ConsoleText {
  readonly #decoder = new StringDecoder('utf8');
  /** A carriage return whose next character has not come. */
  #held = '';

  /** The text of the next bytes, with harmful characters as escapes: `\x1b`, `\u202e`. */
  write(bytes: Buffer): string {
    const text = this.#held + this.#decoder.write(bytes);
    this.#held = text.endsWith('\r') ? '\r' : '';
    return escapedText(text.slice(0, text.length - this.#held.length));
  }
}
