// The progress of a pull: bars on a terminal, lines elsewhere.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatBar } from '../../../../cli/output/layer-bars.js';
import { openPullProgress } from '../../../../cli/output/pull-progress.js';
import type { Progress } from '../../../../images/index.js';

const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;

function layer(digest: string, done: number, total: number): Progress {
  return { phase: 'layer', layer: digest, done, total };
}

/** What a screen finally shows, with cursor movements applied. */
function show(written: string): string[] {
  const lines = [''];
  for (const part of written.split(/(\x1b\[\d+A\x1b\[J|\n)/)) {
    const up = /^\x1b\[(\d+)A/.exec(part);
    if (up) lines.splice(lines.length - 1 - Number(up[1]), Number.POSITIVE_INFINITY, '');
    else if (part === '\n') lines.push('');
    else lines[lines.length - 1] += part;
  }
  return lines;
}

function screen(isTTY: boolean, columns = 100) {
  const written: string[] = [];
  return { isTTY, columns, write: (text: string) => written.push(text), text: () => written.join('') };
}

describe('layers that are pulled', () => {
  test('are reported by lines without a terminal', () => {
    const log = screen(false);
    const progress = openPullProgress(false, log);
    progress.pulling();
    progress.update({ phase: 'present', layer: A, done: 5, total: 5 });
    for (const done of [10, 20, 5000]) progress.update(layer(B, done, 5000));
    progress.update({ phase: 'disk', layer: '', done: 0, total: undefined });
    progress[Symbol.dispose]();
    expect(log.text()).toBe(
      'aaaaaaaaaaaa: Already exists\nbbbbbbbbbbbb: Pulling 5kB\nbbbbbbbbbbbb: Download complete\n',
    );
  });

  test('have bars on a terminal, below the finished layers', () => {
    const terminal = screen(true);
    const progress = openPullProgress(false, terminal);
    progress.pulling();
    progress.update(layer(A, 500, 1000));
    progress.update(layer(B, 250, 1000));
    expect(show(terminal.text())).toEqual([
      `aaaaaaaaaaaa: Downloading [${'='.repeat(25)}>${' '.repeat(24)}] 500B/1kB`,
      `bbbbbbbbbbbb: Downloading [${'='.repeat(12)}>${' '.repeat(37)}] 250B/1kB`,
      '',
    ]);
    progress.update(layer(B, 1000, 1000));
    expect(show(terminal.text())).toEqual([
      'bbbbbbbbbbbb: Download complete',
      expect.stringContaining('aaaaaaaaaaaa: Downloading ['),
      '',
    ]);
    progress[Symbol.dispose]();
    progress[Symbol.dispose]();
    expect(show(terminal.text())).toEqual(['bbbbbbbbbbbb: Download complete', '']);
  });

  test('are not reported with quiet', () => {
    const terminal = screen(true);
    const progress = openPullProgress(true, terminal);
    progress.pulling();
    progress.update(layer(A, 1, 2));
    progress[Symbol.dispose]();
    expect(terminal.text()).toBe('');
  });
});

test('layers from a file leave no lines behind', () => {
  for (const isTTY of [true, false]) {
    const out = screen(isTTY);
    const progress = openPullProgress(false, out);
    progress.update(layer(A, 1, 2));
    progress.update(layer(A, 2, 2));
    progress[Symbol.dispose]();
    expect(show(out.text())).toEqual(['']);
  }
});

test('a bar is never wider than its terminal', () => {
  fc.assert(
    fc.property(
      fc.nat(2 ** 40),
      fc.option(fc.nat(2 ** 40), { nil: undefined }),
      fc.integer({ min: 1, max: 300 }),
      (done, total, width) => {
        const bar = formatBar({ layer: A, done, total }, width, 'Downloading');
        expect(bar.length).toBeLessThanOrEqual(width);
      },
    ),
  );
});
