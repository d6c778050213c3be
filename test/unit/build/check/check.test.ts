// Docker's build checks: each rule finds what BuildKit's finds, in BuildKit's words, at its line; the
// options of directives and comments; and no Dockerfile ends a check but by an error of its own.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BuildError } from '../../../../build/build-error.js';
import { checkDockerfile } from '../../../../build/check/check.js';
import { descriptionOf } from '../../../../build/check/globals.js';
import { ignoredPaths } from '../../../../build/check/ignored.js';
import { commentOptions } from '../../../../build/check/options.js';
import { urlOf } from '../../../../build/check/rules.js';
import type { ParsedLine } from '../../../../build/check/subjects.js';
import { didYouMean } from '../../../../build/check/suggest.js';
import { surveyDockerfile } from '../../../../build/check/survey.js';
import type { SurveyOptions } from '../../../../build/check/surveyed.js';
import { parseIgnore } from '../../../../build/context/ignore.js';

interface Options {
  ignore?: string;
  buildArgs?: Record<string, string>;
  target?: string;
  /** The `config` of every base image. */
  base?: Record<string, unknown>;
}

function options({ ignore, buildArgs = {}, target, base = {} }: Options): SurveyOptions {
  return {
    buildArgs,
    target,
    allStages: true,
    ignore: ignore === undefined ? undefined : parseIgnore(Buffer.from(ignore), '.dockerignore'),
    baseConfig: async () => ({ config: base }),
  };
}

/** `LINE RULE: detail` of each finding, and the error. */
async function check(dockerfile: string, given: Options = {}): Promise<string[]> {
  const { findings, error } = await checkDockerfile(dockerfile, options(given));
  const lines = findings.map(({ place, rule, detail }) => `${place.line} ${rule}: ${detail}`);
  return error === undefined ? lines : [...lines, `error: ${error.message}`];
}

const MULTIPLE = (name: string) =>
  `Multiple ${name} instructions should not be used in the same stage because only the last one will be used`;
const JSON_ARGS = (name: string) =>
  `JSONArgsRecommended: JSON arguments recommended for ${name} to prevent unintended behavior related to OS signals`;
const SECRET = (name: string) =>
  `SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (${name})`;
const IGNORED = (act: string, file: string) =>
  `CopyIgnoredFile: Attempting to ${act} file "${file}" that is excluded by .dockerignore`;

describe('the rules', () => {
  test.each<[string, string[], Options?]>([
    ['FROM scratch AS Bad', ["1 StageNameCasing: Stage name 'Bad' should be lowercase"]],
    ['FROM scratch as b', ["1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"]],
    ['from scratch AS b\nfrom scratch as c', ["1 FromAsCasing: 'AS' and 'from' keywords' casing do not match"]],
    ['FROM scratch\nCOPY a \\\n\n.\nCOPY a \\\n.', ['4 NoEmptyContinuation: Empty continuation line']],
    [
      'From scratch as b\nFROM scratch AS c',
      ["1 ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase)"],
    ],
    [
      'FROM scratch\ncopy a /b\nCOPY a /c',
      ["2 ConsistentInstructionCasing: Command 'copy' should match the case of the command majority (uppercase)"],
    ],
    [
      'from scratch\nCOPY a /b\ncopy a /c',
      ["2 ConsistentInstructionCasing: Command 'COPY' should match the case of the command majority (lowercase)"],
    ],
    ['from scratch\ncopy a /b', []],
    [
      'FROM scratch AS b\nFROM scratch AS b',
      ['2 DuplicateStageName: Duplicate stage name "b", stage names should be unique'],
    ],
    ['FROM scratch AS b1\nFROM scratch AS b2', []],
    [
      'FROM scratch AS context',
      ['1 ReservedStageName: Stage name should not use the same name as reserved stage "context"'],
    ],
    ['FROM scratch\nCMD a', [`2 ${JSON_ARGS('CMD')}`]],
    ['FROM scratch\nENTRYPOINT a', [`2 ${JSON_ARGS('ENTRYPOINT')}`]],
    ['FROM scratch\nSHELL ["/x"]\nCMD a', []],
    ['FROM scratch AS a\nSHELL ["/x"]\nFROM a\nCMD a', []],
    ['FROM b\nCMD a', [], { base: { Shell: ['/x'] } }],
    [
      'FROM scratch\nMAINTAINER me',
      ['2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label'],
    ],
    [
      'FROM --platform=$BULIDPLATFORM scratch',
      [
        "1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)",
        'error: empty platform value from expression $BULIDPLATFORM',
      ],
    ],
    ['ARG tag=1\nFROM b:${tag}${version}', ["2 UndefinedArgInFrom: FROM argument 'version' is not declared"]],
    ['ARG DEBUG\nFROM scra${DEBUG:-tch}', []],
    ['ARG DEBUG=""\nFROM scratch${DEBUG-@bogus}', []],
    [
      'FROM scratch\nWORKDIR app/',
      ['2 WorkdirRelativePath: Relative workdir "app/" can have unexpected results if the base image changes'],
    ],
    ['FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR b', []],
    ['FROM b\nCOPY $foo .\nARG foo=bar', ["2 UndefinedVar: Usage of undefined variable '$foo'"]],
    [
      'FROM b\nARG DIR_ASSETS=a\nCOPY $DIR_ASSET .',
      ["3 UndefinedVar: Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)"],
    ],
    ['FROM b\nENV PATH=$PAHT:/x', ["2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)"]],
    ['FROM b\nRUN echo $x', []],
    ['FROM b\nARG foo\nCOPY a$foo .', []],
    ['FROM b AS c\nARG foo=a\nFROM c\nCOPY $foo .', []],
    ['FROM b\nCOPY $own .', [], { base: { Env: ['own=1'] } }],
    ['FROM b\nCOPY <<A <<"B" /\n$x\nA\n$y\nB', ["2 UndefinedVar: Usage of undefined variable '$x'"]],
    [
      'FROM b\nRUN --mount=type=cache,target=$x a',
      [
        "2 UndefinedVar: Usage of undefined variable '$x'",
        'error: invalid mount "type=cache,target=$x": a target is needed',
      ],
    ],
    ['FROM scratch AS a\nCOPY $foo .\nFROM scratch', ["2 UndefinedVar: Usage of undefined variable '$foo'"]],
    ['FROM scratch AS a\nCOPY $foo .\nFROM scratch AS b', [], { target: 'b' }],
    [
      'FROM scratch\nENTRYPOINT ["a"]\nENTRYPOINT ["b"]\nCMD ["a"]\nCMD ["b"]\nHEALTHCHECK CMD ["a"]\nHEALTHCHECK NONE',
      [
        `2 MultipleInstructionsDisallowed: ${MULTIPLE('ENTRYPOINT')}`,
        `4 MultipleInstructionsDisallowed: ${MULTIPLE('CMD')}`,
        `6 MultipleInstructionsDisallowed: ${MULTIPLE('HEALTHCHECK')}`,
      ],
    ],
    ['FROM scratch AS a\nCMD ["a"]\nFROM a\nCMD ["b"]', []],
    [
      'FROM scratch\nENV a b\nLABEL a b',
      [
        '2 LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format',
        '3 LegacyKeyValueFormat: "LABEL key=value" should be used instead of legacy "LABEL key value" format',
      ],
    ],
    [
      'FROM --platform=${TARGETPLATFORM} scratch',
      [
        '1 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior',
      ],
    ],
    [
      'FROM scratch\nARG SECRET_PASSPHRASE\nENV password=a secret=b PUBLIC_KEY= password_file=c AUTH_MODULE_VERSION=1',
      [`2 ${SECRET('ARG "SECRET_PASSPHRASE"')}`, `3 ${SECRET('ENV "password"')}`, `3 ${SECRET('ENV "secret"')}`],
    ],
    [
      'ARG V\nFROM b:$V',
      ['2 InvalidDefaultArgInFrom: Default value for ARG b:$V results in empty or invalid base image name'],
      { buildArgs: { V: '1' } },
    ],
    ['ARG V=""\nFROM b:stable${V}', [], { buildArgs: { V: '-musl' } }],
    [
      'FROM --platform=linux/amd64 scratch',
      ['1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64"'],
    ],
    ['FROM --platform=linux/amd64 scratch AS my_amd64_stage', []],
    [
      'FROM scratch\nCOPY ./Dockerfile .\nADD Dockerfile /w\nADD https://x/Dockerfile /w',
      [`2 ${IGNORED('Copy', 'Dockerfile')}`, `3 ${IGNORED('Add', 'Dockerfile')}`],
      { ignore: 'Dockerfile' },
    ],
    ['FROM scratch AS a\nFROM a\nCOPY --from=a /d /x\nCOPY d/e .', [`4 ${IGNORED('Copy', 'd/e')}`], { ignore: 'd' }],
    ['FROM scratch\nCOPY ./Dockerfile .\nCOPY . .', [], { ignore: '**\n!Dockerfile' }],
    ['FROM scratch\nCOPY . .', [], { ignore: '.*' }],
    ['FROM scratch\nCOPY . .', [`2 ${IGNORED('Copy', '.')}`], { ignore: '*' }],
    [
      'FROM scratch\nEXPOSE 80/TcP 81/udp',
      ["2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase"],
    ],
    [
      'FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:81:81 5000:5000 8000',
      ['127.0.0.1:80:80', '[::1]:81:81', '5000:5000'].map(
        (port) =>
          `2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '${port}'`,
      ),
    ],
    ['FROM scratch\n# a bad comment\nARG v=1', []],
    [
      '# check=experimental=InvalidDefinitionDescription\n# foo is it\nARG foo=1\n# No\nFROM scratch AS base\n# bad\nARG v=1\n# bad\nARG a=1 b=2\n# far\n\nARG c=1',
      [
        '5 InvalidDefinitionDescription: Comment for FROM should follow the format: `# base <description>`',
        '7 InvalidDefinitionDescription: Comment for ARG should follow the format: `# v <description>`',
        '9 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`',
      ],
    ],
  ])('%j', async (dockerfile, expected, given = {}) => {
    expect(await check(dockerfile, given)).toEqual(expected);
  });

  test('triggers of a base image are checked at the FROM that runs them', async () => {
    expect(await check('FROM scratch\nFROM b', { base: { OnBuild: ['COPY $x /'] } })).toEqual([
      "2 UndefinedVar: Usage of undefined variable '$x'",
    ]);
    expect(await check('FROM scratch AS a\nONBUILD COPY $x /\nFROM a')).toEqual([
      "3 UndefinedVar: Usage of undefined variable '$x'",
    ]);
  });

  test('a finding has its column, its page and its description', async () => {
    const { findings } = await checkDockerfile('FROM b\nENV my_key=1 key=2', options({}));
    expect(findings.map(({ place }) => place.column)).toEqual([5, 14]);
    expect(findings[0]).toMatchObject({
      description: 'Sensitive data should not be used in the ARG or ENV commands',
      url: 'https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/',
    });
    expect(urlOf({ name: 'JSONArgsRecommended' })).toBe(
      'https://docs.docker.com/go/dockerfile/rule/json-args-recommended/',
    );
  });
});

describe('options', () => {
  const faulty = 'FROM scratch as base\ncopy Dockerfile .';
  const as = "FromAsCasing: 'as' and 'FROM' keywords' casing do not match";
  test.each<[string, string[], Options?]>([
    [`#check=skip=all\n${faulty}`, []],
    [`#check=skip=all;error=true\n${faulty}`, []],
    [`# check = skip=ConsistentInstructionCasing,FromAsCasing\n${faulty}`, []],
    [`#check=skip=ConsistentInstructionCasing\n${faulty}`, [`2 ${as}`]],
    [
      `#check=skip=ConsistentInstructionCasing;error=true\n${faulty}`,
      [`2 ${as}`, 'error: lint violation found for rules: FromAsCasing'],
    ],
    [
      `#check=skip=all\n${faulty}`,
      [`2 ${as}`, 'error: lint violation found for rules: FromAsCasing'],
      { buildArgs: { BUILDKIT_DOCKERFILE_CHECK: 'skip=ConsistentInstructionCasing;error=true' } },
    ],
    [`#check=error=true\n${faulty}`, [], { buildArgs: { BUILDKIT_DOCKERFILE_CHECK: 'skip=all' } }],
    ['#check=skip\nFROM scratch', ['error: failed to parse check options: invalid check option "skip"']],
    ['#check=error=2\nFROM scratch', ['error: failed to parse check options: invalid check option "error=2"']],
    ['FROM scratch\n# check=skip=JSONArgsRecommended\nCMD a', []],
    ['FROM scratch\n# check=skip=all // as I want it\nENV password=1', []],
    ['FROM scratch\n# check=skip=all\nENV password=1\nENV key=1', [`4 ${SECRET('ENV "key"')}`]],
    ['# check=skip=StageNameCasing\n# a\nFROM scratch AS A', []],
    ['\n# check=skip=RedundantTargetPlatform\nFROM --platform=$TARGETPLATFORM scratch', []],
  ])('%j', async (dockerfile, expected, given = {}) => {
    expect(await check(dockerfile, given)).toEqual(expected);
  });
});

describe('errors', () => {
  test('what is found before an error is told with it', async () => {
    const { findings, error } = await checkDockerfile('FROM scratch AS Bad\nMAINTAINER me\nBADCMD', options({}));
    expect(findings.map(({ rule }) => rule)).toEqual(['StageNameCasing', 'MaintainerDeprecated']);
    expect(error?.message).toBe('unknown instruction: BADCMD');
    expect(error?.place).toEqual({ line: 3, endLine: 3, column: 1 });
  });

  test.each([
    ['FROM scratch\nENV a=${b?no}', 'failed to process "${b?no}": b: no', 2],
    ['FROM scratch\nEXPOSE x', 'invalid containerPort: x', 2],
    ['FROM scratch\nEXPOSE 1:2-3:80-90', 'invalid IP address: 1', 2],
    ['FROM scratch\nEXPOSE 1/x', 'invalid port: "1/x": invalid proto: x', 2],
    ['FROM scratch\nRUN --mount=type=x a', 'unsupported mount type "x"', 2],
    ['RUN a', 'the first instruction must be FROM or ARG', 1],
  ])('%j', async (dockerfile, message, line) => {
    const { error } = await checkDockerfile(dockerfile, options({}));
    expect(error?.message).toContain(message);
    expect(error?.place?.line).toBe(line);
  });

  test('a base image that is not found is an error at its FROM', async () => {
    const baseConfig = () => Promise.reject(new Error('No such image: b'));
    const { error } = await checkDockerfile('FROM scratch\nFROM b', { ...options({}), baseConfig });
    expect([error?.message, error?.place?.line]).toEqual(['No such image: b', 2]);
  });
});

describe('hostile Dockerfiles', () => {
  test('words that expand without bound end the check', async () => {
    const doubled = Array.from({ length: 19 }, () => 'ENV a=$a$a').join('\n');
    const dockerfile = `FROM b\nENV a=x\n${doubled}\nCOPY ${'$a '.repeat(500)} /`;
    expect(await check(dockerfile)).toEqual([
      'error: the words of the Dockerfile expand to more than 67108864 characters',
    ]);
  });

  test.each([
    ['a directive', ['# check=skip=all', ' x\nFROM scratch'], []],
    ['a comment', ['FROM scratch\n# check=', 'skip=all\ry\nUSER $x'], ['3 UndefinedVar']],
  ])('spaces in %s take time in their number', async (_, [before, after], expected) => {
    const { findings } = await checkDockerfile(`${before}${' '.repeat(1_000_000)}${after}`, options({}));
    expect(findings.map(({ place, rule }) => `${place.line} ${rule}`)).toEqual(expected);
  });

  test('ranges of ports are not written out, and their ports are bounded', async () => {
    const message = 'EXPOSE names more than 131072 ports';
    expect(await check('FROM scratch\nEXPOSE 1-65535 1-65535/udp')).toEqual([]);
    expect(await check(`FROM scratch\nEXPOSE ${'1-65535 '.repeat(300)}`)).toEqual([`error: ${message}`]);
    const many = 'EXPOSE $a\n'.repeat(200);
    expect(await check(`FROM scratch\nENV a="${'80 '.repeat(1000)}"\n${many}`)).toEqual([`error: ${message}`]);
  });

  test('the comments of an instruction are read once', () => {
    let reads = 0;
    const comments = new Proxy(['a of a', 'check=skip=b', 'a again', 'b of b'], {
      get(target, key) {
        reads++;
        return Reflect.get(target, key);
      },
    });
    const parsed = { line: { comments } } as unknown as ParsedLine;
    const read = () => [commentOptions(comments).skip, descriptionOf(parsed, 'a'), descriptionOf(parsed, 'b')];
    const expected = [new Set(['b']), 'of a', 'of b'];
    expect(read()).toEqual(expected);
    const before = reads;
    expect(read()).toEqual(expected);
    expect(reads).toBe(before);
  });

  test('what is compared with .dockerignore is bounded', () => {
    let asked = 0;
    const ignores = () => asked++ >= 0;
    const isIgnored = ignoredPaths({ hasExceptions: false, matchesAll: false, size: 1 << 20, ignores });
    const answers = Array.from({ length: 1000 }, () => isIgnored('a/bc'));
    expect(asked).toBe(16);
    expect(answers.indexOf(false)).toBe(16);
    expect(parseIgnore(Buffer.from('ab\n!c*'), '.dockerignore').size).toBe(4);
  });

  test.each([
    [1000, 1007],
    [5000, undefined],
  ])('a word %i characters into its line has the column %j', async (spaces, column) => {
    const { findings } = await checkDockerfile(`FROM b\nUSER ${' '.repeat(spaces)}$x`, options({}));
    expect(findings.map(({ place }) => place.column)).toEqual([column]);
  });

  test.each([
    [64, ` (did you mean ${'a'.repeat(65)}?)`],
    [65, ''],
  ])('a name of %i characters has the hint %j', (length, hint) => {
    expect(didYouMean('a'.repeat(length), ['a'.repeat(length + 1)])).toBe(hint);
  });

  test('findings are bounded', async () => {
    const variables = Array.from({ length: 20_000 }, (_, index) => `v${index}=$w${index}`).join(' ');
    const { findings, error } = await checkDockerfile(`FROM b\nENV ${variables}`, options({}));
    expect([findings.length, error]).toEqual([1000, undefined]);
  });

  test('what a finding says is bounded', async () => {
    const { findings } = await checkDockerfile(`FROM b AS ${'A'.repeat(100_000)}`, options({}));
    const [{ detail = '' } = {}] = findings.filter(({ rule }) => rule === 'StageNameCasing');
    expect(detail).toBe(`Stage name '${'A'.repeat(988)}...`);
  });

  test('an argument that extends itself takes time in the number of arguments', async () => {
    const all = Array.from({ length: 100_000 }, (_, index) => index);
    const args = `ARG ${all.map((index) => `a${index}=`).join(' ')}\nARG x= ${all.map((index) => `x=$x$a${index}`).join(' ')}`;
    const { globals } = await surveyDockerfile(`${args}\nFROM b$x`, options({}), {});
    expect(globals.get('x')).toMatchObject({ value: '', needs: { size: all.length } });
  });

  test('stages that begin from each other share their variables', async () => {
    const variables = Array.from({ length: 50_000 }, (_, index) => `v${index}=`).join(' ');
    const stages = Array.from({ length: 900 }, (_, index) => `FROM s${index} AS s${index + 1}`).join('\n');
    const dockerfile = `FROM b AS s0\nENV ${variables}\n${stages}\nCOPY $v49999x$none /`;
    const { findings } = await checkDockerfile(dockerfile, options({}));
    expect(findings.map(({ rule }) => rule)).toEqual(['UndefinedVar', 'UndefinedVar']);
  });

  const word = fc.oneof(
    fc.constantFrom(
      'a',
      'scratch',
      '$a',
      '${a:-$b}',
      '${a',
      '"',
      "'",
      '\\',
      '=',
      '<<E',
      '--from=0',
      '--mount=type=secret',
    ),
    fc.constantFrom('--platform=$x', 'as', 'AS', '[', ']', '["a"]', '80/TCP', '1:2', '/', '..', '#', 'key', '\0', '`'),
    fc.string({ maxLength: 8 }),
  );
  const keyword = fc.constantFrom(
    ...['FROM', 'from', 'RUN', 'COPY', 'ADD', 'ENV', 'ARG', 'LABEL', 'USER', 'WORKDIR', 'VOLUME', 'EXPOSE', 'CMD'],
    ...[
      'ENTRYPOINT',
      'SHELL',
      'STOPSIGNAL',
      'HEALTHCHECK CMD',
      'ONBUILD COPY',
      'MAINTAINER',
      'Copy',
      '#',
      '# check=',
      '',
    ],
  );
  const line = fc.tuple(keyword, fc.array(word, { maxLength: 5 })).map(([first, words]) => [first, ...words].join(' '));
  const dockerfiles = fc.array(line, { maxLength: 12 }).map((lines) => ['FROM scratch', ...lines].join('\n'));

  test('end by findings and an error of their own', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(dockerfiles, fc.string()), async (dockerfile) => {
        const { findings, error } = await checkDockerfile(dockerfile, options({ ignore: 'a\n*.b' }));
        const count = dockerfile.split('\n').length;
        for (const { place } of findings) expect(place.line).toBeLessThanOrEqual(count);
        expect(error === undefined || error instanceof BuildError).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});
