// The output of a step, as lines. Bytes come in pieces of any size.
import { StringDecoder } from 'node:string_decoder';

/** Characters of a line that are kept until its end comes. */
const MAX_LINE = 16 * 1024;

interface Stream {
  decoder: StringDecoder;
  rest: string;
}

export class StepOutput {
  readonly #streams = new Map<'stdout' | 'stderr', Stream>();

  /** @returns the lines that have ended */
  take(name: 'stdout' | 'stderr', bytes: Buffer): string[] {
    const stream = this.#streams.get(name) ?? { decoder: new StringDecoder(), rest: '' };
    this.#streams.set(name, stream);
    const lines = (stream.rest + stream.decoder.write(bytes)).split(/\r?\n/);
    stream.rest = lines.pop() ?? '';
    if (stream.rest.length > MAX_LINE) {
      lines.push(stream.rest);
      stream.rest = '';
    }
    return lines;
  }

  /** The line that has not ended yet. '' if there is none. */
  get open(): string {
    return [...this.#streams.values()].map(({ rest }) => rest).findLast((rest) => rest !== '') ?? '';
  }

  /** The lines that never end. */
  end(): string[] {
    const lines = [...this.#streams.values()].map(({ decoder, rest }) => rest + decoder.end());
    this.#streams.clear();
    return lines.filter((line) => line !== '');
  }
}
