// What a build draws on a terminal fits it, whatever programs write, and stays readable at its end.
import fc from 'fast-check';
import stringWidth from 'string-width';
import { afterEach, expect, test, vi } from 'vitest';
import { openBuildProgress } from '../../../../cli/output/build-progress.js';

/** A screen that keeps what is written. */
function screen(columns: number, rows: number) {
  const written: string[] = [];
  return { isTTY: true, columns, rows, written, write: (text: string) => written.push(text) };
}

const ESCAPES = /\x1b\[\d*[AJK]|\r/g;
const linesOf = (text: string) => text.replace(ESCAPES, '').split('\n').slice(0, -1);

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

test('no line is wider than the terminal, and no frame higher', () => {
  vi.useFakeTimers();
  const text = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.string({ unit: 'binary' }),
    fc.constant('漢字👩‍👩‍👧'.repeat(90)),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 120 }),
      fc.integer({ min: 4, max: 40 }),
      fc.array(text),
      (columns, rows, texts) => {
        const own = screen(columns, rows);
        const { onEvent, end } = openBuildProgress('tty', own);
        for (const [step, name] of [...texts, 'last'].entries()) {
          onEvent({ is: 'begun', step, name });
          for (const line of texts)
            onEvent({ is: 'output', step, stream: 'stdout', bytes: Buffer.from(`${line}\n${line}`) });
        }
        vi.advanceTimersByTime(150);
        const lines = linesOf(own.written.at(-1)!);
        expect(Math.max(...lines.map((line) => stringWidth(line)))).toBeLessThan(Math.max(2, columns));
        expect(lines.length).toBeLessThan(rows);
        end();
      },
    ),
    { numRuns: 30 },
  );
});

test('what is done stays, and the lines of a failed step are told whole', () => {
  const own = screen(40, 10);
  const { onEvent, end } = openBuildProgress('tty', own);
  onEvent({ is: 'begun', step: 1, name: '[1/3] FROM x' });
  onEvent({ is: 'done', step: 1, seconds: 1.23 });
  onEvent({ is: 'begun', step: 2, name: '[2/3] COPY a /' });
  onEvent({ is: 'cached', step: 2 });
  onEvent({ is: 'begun', step: 3, name: '[3/3] RUN x' });
  const bytes = Buffer.from(`10%\r20%\n${'y'.repeat(60)}\n\u00e9`);
  for (const byte of bytes) onEvent({ is: 'output', step: 3, stream: 'stderr', bytes: Buffer.of(byte) });
  onEvent({ is: 'failed', step: 3, message: 'x', isCanceled: false });
  onEvent({ is: 'warning', message: 'one\ntwo' });
  end();
  expect(own.written.flatMap(linesOf).map((line) => line.replace(/\d+\.\d(?=s)/, '0.0'))).toEqual([
    ' => [1/3] FROM x                   0.0s',
    ' => CACHED [2/3] COPY a /          0.0s',
    ' => ERROR [3/3] RUN x              0.0s',
    ...['------', ' > [3/3] RUN x:', '20%', 'y'.repeat(60), '\u00e9', '------'],
    'WARNING: one two',
    '[+] Building 0.0s (3/3) FINISHED',
  ]);
});

test('a terminal that has become narrower has broken the lines of the frame', () => {
  vi.useFakeTimers();
  const own = screen(80, 24);
  const { onEvent, end } = openBuildProgress('tty', own);
  onEvent({ is: 'begun', step: 1, name: '[1/1] RUN x' });
  vi.advanceTimersByTime(150);
  own.columns = 30;
  vi.advanceTimersByTime(100);
  // The head is one line of 27 columns, the step 79 columns in three lines of 30.
  expect(own.written.at(-1)).toMatch(/^\r\u001b\[4A/);
  end();
});

test('elsewhere than on a terminal it is the plain form', () => {
  for (const [isTTY, TERM] of [
    [false, 'xterm'],
    [true, 'dumb'],
  ] as const) {
    vi.stubEnv('TERM', TERM);
    const own = { ...screen(80, 24), isTTY };
    const { onEvent, end } = openBuildProgress('tty', own);
    onEvent({ is: 'begun', step: 1, name: '[1/1] RUN x' });
    onEvent({ is: 'cached', step: 1 });
    end();
    expect(own.written).toEqual(['#1 [1/1] RUN x\n', '#1 CACHED\n']);
  }
});
