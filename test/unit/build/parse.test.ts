// From a Dockerfile to its instructions: what the Dockerfile reference says of the format, of parser
// directives, of heredocs and of each instruction's forms.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BuildError, excerpt } from '../../../build/build-error.js';
import { splitLines } from '../../../build/dockerfile/lines.js';
import { parseDockerfile } from '../../../build/dockerfile/parse.js';

const lines = (source: string) => splitLines(source).lines.map(({ keyword, text }) => `${keyword} ${text}`);
const only = (source: string) => {
  const [instruction] = parseDockerfile(source).instructions;
  const { keyword: _keyword, text: _text, place: _place, ...rest } = instruction!;
  return rest;
};
const fails = (source: string) => {
  try {
    parseDockerfile(source);
  } catch (error) {
    if (error instanceof BuildError) return `${error.place?.line}: ${error.message}`;
    throw error;
  }
  return 'parsed';
};

describe('lines', () => {
  test.each([
    ['FROM a\nRUN b', ['FROM a', 'RUN b']],
    ['from a', ['FROM a']],
    ['\ufeffFROM a', ['FROM a']],
    ['FROM a\r\nRUN b\r\n', ['FROM a', 'RUN b']],
    ['  FROM   a  ', ['FROM a']],
    ['# c\nFROM a\n  # d\nRUN b', ['FROM a', 'RUN b']],
    ['RUN a # not a comment', ['RUN a # not a comment']],
    ['RUN a \\\n  b', ['RUN a   b']],
    ['RUN a\\\nb', ['RUN ab']],
    ['RUN a \\   \n b', ['RUN a  b']],
    ['RUN a \\\n# c\n  # d\n b', ['RUN a  b']],
    ['RUN a \\\n\n b', ['RUN a  b']],
    ['RUN a \\\\\nCMD b', ['RUN a \\\\', 'CMD b']],
    ['RUN a \\', ['RUN a']],
    ['\\\nFROM a', ['FROM a']],
    ['# escape=`\nRUN a `\n b\nRUN c:\\\nCMD d', ['RUN a  b', 'RUN c:\\', 'CMD d']],
    ['#escape = `\nRUN a `\n b', ['RUN a  b']],
    ['# syntax=docker/dockerfile:1\n# escape=`\nRUN a `\n b', ['RUN a  b']],
    ['# c\n# escape=`\nRUN a \\\n b', ['RUN a  b']],
    ['FROM a\n# escape=`\nRUN a \\\n b', ['FROM a', 'RUN a  b']],
  ])('%j', (source, expected) => {
    expect(lines(source)).toEqual(expected);
  });

  test.each([
    ['', 'file with no instructions'],
    ['# c\n\n', 'file with no instructions'],
    ['# escape=x\nFROM a', "invalid escape token 'x'"],
    ['# escape=`\n# escape=`\nFROM a', 'only one escape parser directive'],
    ['RUN <<EOF\na\n', 'unterminated heredoc: no line is EOF'],
  ])('%j is refused', (source, message) => {
    expect(() => splitLines(source)).toThrow(message);
  });

  test('places are the lines of an instruction', () => {
    const { lines } = splitLines('# c\nFROM a\nRUN b \\\n c\nRUN <<E\nx\nE\nCMD d');
    expect(lines.map(({ place }) => [place.line, place.endLine])).toEqual([
      [2, 2],
      [3, 4],
      [5, 7],
      [8, 8],
    ]);
  });
});

describe('heredocs', () => {
  const heredocs = (source: string) => splitLines(source).lines.flatMap((line) => line.heredocs);

  test.each([
    ['RUN <<EOF\na\nb\nEOF', [{ name: 'EOF', contents: 'a\nb\n', expands: true }]],
    ['RUN <<"EOF"\na\nEOF', [{ name: 'EOF', contents: 'a\n', expands: false }]],
    ["COPY <<'E F' /x\na\nE F", [{ name: 'E F', contents: 'a\n', expands: false }]],
    ['RUN <<-EOF\n\t\ta\n\tEOF', [{ name: 'EOF', contents: 'a\n', expands: true }]],
    ['RUN <<EOF\nEOF', [{ name: 'EOF', contents: '', expands: true }]],
    ['RUN <<EOF\nFROM x\n# y\nEOF', [{ name: 'EOF', contents: 'FROM x\n# y\n', expands: true }]],
    [
      'COPY <<a <<b /\n1\na\n2\nb',
      [
        { name: 'a', contents: '1\n', expands: true },
        { name: 'b', contents: '2\n', expands: true },
      ],
    ],
    ['RUN cat 0<<EOF\na\nEOF', [{ name: 'EOF', contents: 'a\n', expands: true }]],
    ['RUN cat 3<<EOF', []],
    ['RUN cat <<<EOF', []],
    ['RUN echo "a <<EOF"', []],
    ['CMD cat <<EOF', []],
    ['ONBUILD RUN <<EOF\na\nEOF', [{ name: 'EOF', contents: 'a\n', expands: true }]],
  ])('%j', (source, expected) => {
    expect(heredocs(source)).toEqual(expected);
  });
});

describe('instructions', () => {
  test.each([
    ['FROM a', { kind: 'from', image: 'a', platform: undefined, name: undefined }],
    ['FROM --platform=$P a:1 as B', { kind: 'from', image: 'a:1', platform: '$P', name: 'b' }],
    [
      'RUN a  b',
      { kind: 'run', command: { form: 'shell', text: 'a  b' }, heredocs: [], mounts: [], network: undefined },
    ],
    [
      'RUN ["a", "b c"]',
      { kind: 'run', command: { form: 'exec', argv: ['a', 'b c'] }, heredocs: [], mounts: [], network: undefined },
    ],
    [
      "RUN ['a']",
      { kind: 'run', command: { form: 'shell', text: "['a']" }, heredocs: [], mounts: [], network: undefined },
    ],
    [
      'RUN --mount=type=cache,target=/x --mount=type=tmpfs,target=/y --network=none a',
      {
        kind: 'run',
        command: { form: 'shell', text: 'a' },
        heredocs: [],
        mounts: ['type=cache,target=/x', 'type=tmpfs,target=/y'],
        network: 'none',
      },
    ],
    ['CMD ["a"]', { kind: 'cmd', command: { form: 'exec', argv: ['a'] } }],
    ['CMD []', { kind: 'cmd', command: { form: 'exec', argv: [] } }],
    ['ENTRYPOINT a b', { kind: 'entrypoint', command: { form: 'shell', text: 'a b' } }],
    ['SHELL ["a", "-c"]', { kind: 'shell', argv: ['a', '-c'] }],
    [
      'ENV a=b c="d e" f=g\\ h',
      {
        kind: 'env',
        pairs: [
          ['a', 'b'],
          ['c', '"d e"'],
          ['f', 'g\\ h'],
        ],
      },
    ],
    ['ENV a b  c', { kind: 'env', pairs: [['a', 'b  c']] }],
    [
      'LABEL "a.b"="c d" e=',
      {
        kind: 'label',
        pairs: [
          ['"a.b"', '"c d"'],
          ['e', ''],
        ],
      },
    ],
    [
      'ARG a b=c d="e f"',
      {
        kind: 'arg',
        args: [
          { name: 'a', value: undefined },
          { name: 'b', value: 'c' },
          { name: 'd', value: '"e f"' },
        ],
      },
    ],
    ['EXPOSE 80 90/udp', { kind: 'expose', words: ['80', '90/udp'] }],
    ['VOLUME /a /b', { kind: 'volume', words: ['/a', '/b'] }],
    ['VOLUME ["/a b"]', { kind: 'volume', words: ['/a b'] }],
    ['USER a:b', { kind: 'user', value: 'a:b' }],
    ['WORKDIR /a b', { kind: 'workdir', value: '/a b' }],
    ['STOPSIGNAL 9', { kind: 'stopsignal', value: '9' }],
    ['MAINTAINER a <b>', { kind: 'maintainer', value: 'a <b>' }],
    ['HEALTHCHECK NONE', { kind: 'healthcheck', health: { command: undefined } }],
    [
      'HEALTHCHECK --interval=1m30s --timeout=2s --start-period=500ms --retries=3 CMD a b',
      {
        kind: 'healthcheck',
        health: { command: { form: 'shell', text: 'a b' }, interval: 90e9, timeout: 2e9, startPeriod: 5e8, retries: 3 },
      },
    ],
    ['ONBUILD RUN a', { kind: 'onbuild', trigger: 'RUN a' }],
    ['ONBUILD RUN <<E\na\nE', { kind: 'onbuild', trigger: 'RUN <<E\na\nE' }],
  ])('%j', (source, expected) => {
    expect(only(source)).toEqual(expected);
  });

  test.each([
    ['COPY a b /c/', ['a', 'b'], '/c/'],
    ['COPY ["a b", "/c d"]', ['a b'], '/c d'],
    ['COPY --from=x --link --parents --exclude=*.o --exclude=y --chown=1:2 --chmod=644 a /b', ['a'], '/b'],
    ['COPY a <<E b /c/\nx\nE', ['a', 'b'], '/c/'],
    ['ADD --checksum=sha256:x http://a /b', ['http://a'], '/b'],
  ])('%j', (source, sources, destination) => {
    expect(only(source)).toMatchObject({ sources, destination });
  });
});

test.each([
  ['FROM a\nRUNN b', '2: unknown instruction: RUNN'],
  ['FROM', '1: FROM requires at least one argument'],
  ['FROM a b', '1: FROM requires either one or three arguments'],
  ['FROM a AS', '1: FROM requires either one or three arguments'],
  ['FROM a AS 1b', '1: invalid name for build stage'],
  ['RUN', '1: RUN requires at least one argument'],
  ['RUN --mount a', '1: missing a value on flag: --mount'],
  ['RUN --security=insecure a', '1: security mode insecure is not allowed'],
  ['RUN --network=x a', '1: invalid network mode: x'],
  ['RUN --x=y a', '1: unknown flag of RUN: --x'],
  ['RUN --network=none --network=none a', '1: duplicate flag specified: --network'],
  ['COPY a', '1: COPY requires at least two arguments'],
  ['COPY --link=x a b', '1: expecting boolean value for flag --link'],
  ['ADD --from=x a b', '1: unknown flag of ADD: --from'],
  ['ENV a', '1: ENV must have two arguments'],
  ['ENV a=b c', `1: Syntax error - can't find = in "c"`],
  ['ENV =b', '1: ENV names can not be blank'],
  ['LABEL a', '1: LABEL must have two arguments'],
  ['SHELL a b', '1: SHELL requires the arguments to be in JSON form'],
  ['VOLUME [""]', '1: VOLUME specified can not be an empty string'],
  ['HEALTHCHECK a', '1: Unknown type "A" in HEALTHCHECK'],
  ['HEALTHCHECK CMD', '1: Missing command after HEALTHCHECK CMD'],
  ['HEALTHCHECK --interval=x CMD a', '1: invalid duration of --interval: x'],
  ['HEALTHCHECK --interval=1us CMD a', '1: the duration of --interval cannot be less than 1ms'],
  ['HEALTHCHECK --retries=x CMD a', '1: --retries must be a number: x'],
  ['ONBUILD ONBUILD RUN a', "1: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
  ['ONBUILD FROM a', "1: FROM isn't allowed as an ONBUILD trigger"],
  ['ONBUILD MAINTAINER a', "1: MAINTAINER isn't allowed as an ONBUILD trigger"],
  ['ONBUILD COPY a', '1: COPY requires at least two arguments'],
])('%j is refused', (source, message) => {
  expect(fails(source)).toContain(message);
});

test('an excerpt shows the lines around, and a caret', () => {
  expect(excerpt('Dockerfile', 'FROM a\nRUN b\n  RUNN c\nCMD d\n', { line: 3, endLine: 3, column: 3 })).toBe(
    [
      'Dockerfile:3',
      '--------------------',
      '  1 |     FROM a',
      '  2 |     RUN b',
      '  3 | >>>   RUNN c',
      '    |       ^',
      '  4 |     CMD d',
      '  5 |     ',
      '--------------------',
    ].join('\n'),
  );
});

test.each([500, 501])('a line of an excerpt is cut above 500 characters: a caret at %i', (column) => {
  const source = `FROM ${'a'.repeat(496)}`;
  const shown = excerpt('Dockerfile', [source], { line: 1, endLine: 1, column }).split('\n');
  expect(shown[2]).toBe(`  1 | >>> ${source.slice(0, 500)}...`);
  expect(shown[3]).toBe(column === 500 ? `    |     ${' '.repeat(499)}^` : '--------------------');
});

describe('hostile Dockerfiles', () => {
  test('one of too many bytes, or instructions', () => {
    expect(() => splitLines('#'.repeat(5 << 20))).toThrow('larger than');
    expect(() => splitLines('RUN a\n'.repeat(10_001))).toThrow('more than 10000 instructions');
  });

  test('any text is parsed or refused with a place', () => {
    const parts = fc.constantFrom(
      'FROM',
      'RUN',
      'COPY',
      ' ',
      '\n',
      '\\',
      '<<',
      '<<-',
      'E',
      '"',
      "'",
      '--x=',
      '=',
      '[',
      ']',
      '#',
      'a',
      '$',
      '{',
    );
    fc.assert(
      fc.property(fc.array(parts, { maxLength: 60 }), (words) => {
        try {
          parseDockerfile(words.join(''));
        } catch (error) {
          expect(error).toBeInstanceOf(BuildError);
        }
      }),
    );
  });
});
