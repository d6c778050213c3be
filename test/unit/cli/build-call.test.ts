// `tsvm build --check` and `--call`: texts, JSON and exit codes as Docker's, and the findings at the
// end of a build. The stages are from scratch, so no registry is asked.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'context'));
  writeFileSync(join(folder, 'context/file'), 'contents');
});

afterAll(() => rmSync(folder, { recursive: true }));

function build(dockerfile: string, ...args: string[]) {
  const path = join(folder, 'context/Dockerfile');
  writeFileSync(path, dockerfile);
  const env = { ...process.env, TSVM_HOME: join(folder, 'home') };
  const { status, stdout, stderr } = spawnSync(TSVM, ['build', ...args, 'context'], { env, cwd: folder });
  return { status, stdout: stdout.toString(), stderr: stderr.toString() };
}

const FAULTY = 'FROM scratch AS base\nENV key value\nCOPY file /\n';

describe('--check', () => {
  test('knows the contexts that stand for images and stages', () => {
    const dockerfile = 'FROM nowhere.invalid/image AS one\nRUN echo $UNSET\nFROM other\nCOPY file /\n';
    const contexts = ['--build-context', 'one=context', '--build-context', 'other=context'];
    expect(build(dockerfile, '--check', ...contexts)).toMatchObject({
      status: 0,
      stdout: 'Check complete, no warnings found.\n',
      stderr: '',
    });
  });

  test('tells each finding with its lines, and exits with 1', () => {
    const url = 'https://docs.docker.com/go/dockerfile/rule';
    expect(build(FAULTY, '--check')).toEqual({
      status: 1,
      stdout: `Check complete, 2 warnings have been found!

WARNING: LegacyKeyValueFormat - ${url}/legacy-key-value-format/
"ENV key=value" should be used instead of legacy "ENV key value" format
context/Dockerfile:2
--------------------
  1 |     FROM scratch AS base
  2 | >>> ENV key value
  3 |     COPY file /
  4 |     
--------------------

WARNING: SecretsUsedInArgOrEnv - ${url}/secrets-used-in-arg-or-env/
Do not use ARG or ENV instructions for sensitive data (ENV "key")
context/Dockerfile:2
--------------------
  1 |     FROM scratch AS base
  2 | >>> ENV key value
    |         ^
  3 |     COPY file /
  4 |     
--------------------
`,
      stderr: '',
    });
    expect(build(FAULTY, '--call', 'check,ignorestatus=true').status).toBe(0);
  });

  test('says that there is nothing', () => {
    const clean = { status: 0, stdout: 'Check complete, no warnings found.\n', stderr: '' };
    expect(build('FROM scratch\nCOPY file /\n', '--check')).toEqual(clean);
    expect(build(`# check=skip=all\n${FAULTY}`, '--check')).toEqual(clean);
  });

  test('ends with the error of the build, after the findings', () => {
    const { status, stdout, stderr } = build('FROM scratch as base\nBAD\n', '--check');
    expect([status, stdout.split('\n')[0]]).toEqual([1, 'Check complete, 1 warning has been found!']);
    expect(stderr).toContain('>>> BAD');
    expect(stderr).toContain('unknown instruction: BAD');
  });

  test('gives the JSON of BuildKit', () => {
    const { status, stdout } = build('FROM scratch\nMAINTAINER me\n', '--call=check,format=json');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      warnings: [
        {
          ruleName: 'MaintainerDeprecated',
          description: 'The MAINTAINER instruction is deprecated, use a label instead to define an image author',
          url: 'https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/',
          detail: 'Maintainer instruction is deprecated in favor of using label',
          location: { ranges: [{ start: { line: 2 }, end: { line: 2 } }] },
        },
      ],
      sources: [
        {
          filename: 'context/Dockerfile',
          data: Buffer.from('FROM scratch\nMAINTAINER me\n').toString('base64'),
          language: 'Dockerfile',
        },
      ],
    });
  });
});

const PROJECT = `ARG inherited=box
ARG inherited2=box2
ARG unused=abc\${inherited2}
# sfx is a suffix
ARG sfx="usy\${inherited}"
FROM scratch AS first
# this is not assigned to anything
ARG FOO=123
# BAR is a number
ARG BAR=456
ARG sfx
RUN --mount=type=secret,id=pass,required true
FROM scratch AS second
ARG BAZ
FROM scratch AS third
ARG ABC=a
# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /
FROM second
RUN --mount=type=ssh true
`;

describe('--call', () => {
  test('outline tells what a target takes', () => {
    expect(build(PROJECT, '--call=outline', '--target=target', '--build-arg', 'BAR=678')).toEqual({
      status: 0,
      stdout: `TARGET:      target
DESCRIPTION: defines build target

BUILD ARG   VALUE    DESCRIPTION
inherited   box      
sfx         usybox   is a suffix
FOO         123      
BAR         678      is a number
ABC         a        

SECRET   REQUIRED
pass     true

`,
      stderr: '',
    });
    const { ssh, args } = JSON.parse(build(PROJECT, '--call=outline,format=json').stdout);
    expect([ssh, args]).toEqual([
      [{ name: 'default', location: { ranges: [{ start: { line: 21 }, end: { line: 21 } }] } }],
      [{ name: 'BAZ', location: { ranges: [{ start: { line: 14 }, end: { line: 14 } }] } }],
    ]);
  });

  test('targets tells the stages', () => {
    const rows = [['TARGET', 'DESCRIPTION'], ['first'], ['second'], ['third'], ['target', 'defines build target']];
    const { status, stdout } = build(PROJECT, '--call', 'targets');
    expect([
      status,
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.trim().split(/\s{2,}|(?<=TARGET|target)\s+/)),
    ]).toEqual([0, [...rows, ['(default)']]]);
    const { targets } = JSON.parse(build(PROJECT, '--call', 'targets,format=json').stdout);
    expect(targets.at(-1)).toEqual({
      ...{ default: true, base: 'second', location: { ranges: [{ start: { line: 20 }, end: { line: 20 } }] } },
    });
  });

  test.each(['none', 'check,format=xml', 'check,more', 'check,ignorestatus=2'])('%s is refused', (call) => {
    const { status, stderr } = build(FAULTY, `--call=${call}`);
    expect([status, stderr.includes('invalid --call')]).toEqual([125, true]);
  });
});

describe('a build', () => {
  test('ends with what the checks have found', () => {
    const { status, stderr } = build(FAULTY);
    expect(status).toBe(0);
    expect(stderr).toContain(` 2 warnings found (use tsvm build --check to expand):
 - LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (line 2)
 - SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "key") (line 2)
`);
    expect(build(FAULTY, '-q').stderr).toBe('');
  });

  test('fails if findings are errors, and runs nothing', () => {
    const { status, stdout, stderr } = build(`# check=error=true\n${FAULTY}`);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain('lint violation found for rules: LegacyKeyValueFormat, SecretsUsedInArgOrEnv');
    expect(stderr).not.toContain('COPY file');
  });

  test('of a stage based on another knows its arguments', () => {
    const { status, stderr } = build('FROM scratch AS base\nARG from=file\nFROM base\nCOPY $from /\n');
    expect([status, stderr.includes('warning')]).toEqual([0, false]);
  });
});
