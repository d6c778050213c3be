// The reader of JSON lines: lines cut anywhere, the limit on their length, and bytes after the last
// line.
import { expect, test } from 'vitest';
import { JsonLineError, JsonLines } from '../../../vmm/json-lines.js';

function readAll(lines: JsonLines, ...chunks: (string | Buffer)[]): unknown[] {
  return chunks.flatMap((chunk) => [...lines.read(Buffer.from(chunk))]);
}

test('reads the same values however the stream is cut', () => {
  const values = [{ name: 'ünïcode' }, [1, 2], 'three', null];
  const stream = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(''));
  expect(readAll(new JsonLines(100), stream)).toEqual(values);
  for (let cut = 0; cut <= stream.length; cut++) {
    expect(readAll(new JsonLines(100), stream.subarray(0, cut), stream.subarray(cut))).toEqual(values);
  }
  const bytes = Array.from(stream, (byte) => Buffer.of(byte));
  expect(readAll(new JsonLines(100), ...bytes)).toEqual(values);
});

test('keeps a copy of an incomplete line: the caller may reuse its buffer', () => {
  const lines = new JsonLines(100);
  const chunk = Buffer.from('12');
  expect([...lines.read(chunk)]).toEqual([]);
  chunk.write('99');
  expect(readAll(lines, '3\n')).toEqual([123]);
});

test('reads a line as long as the limit, and refuses a longer one, complete or not', () => {
  expect(readAll(new JsonLines(3), '123\n', '456\n')).toEqual([123, 456]);
  expect(() => readAll(new JsonLines(3), '1234\n')).toThrow('a line of more than 3 bytes');
  expect(() => readAll(new JsonLines(3), '12', '34')).toThrow(JsonLineError);
});

test('refuses a line that is not JSON, after the lines before it', () => {
  const seen: unknown[] = [];
  const read = () => {
    for (const value of new JsonLines(100).read(Buffer.from('1\n\n2\n'))) seen.push(value);
  };
  expect(read).toThrow(JsonLineError);
  expect(seen).toEqual([1]);
});

test('hands over the bytes behind a line to a caller that stops reading there', () => {
  const lines = new JsonLines(100);
  for (const value of lines.read(Buffer.from('"raw"\n1\nbytes'))) {
    expect(value).toBe('raw');
    break;
  }
  expect(lines.takeRest().toString()).toBe('1\nbytes');
  expect(lines.takeRest()).toHaveLength(0);
});
