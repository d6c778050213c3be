// The rules of Docker's build checks (https://docs.docker.com/reference/build-checks/), with the
// words of BuildKit. A rule finds its faults in what it looks at.
import { posix } from 'node:path';
import { parseName, parsePlatform } from '../../images/build.js';
import type { Place } from '../build-error.js';
import { isRemote } from '../context/remote.js';
import type { Lines } from '../dockerfile/lines.js';
import { splitWords } from '../dockerfile/words.js';
import type { FileSubject, FromSubject, ParsedLine, StepSubject } from './subjects.js';
import { didYouMean } from './suggest.js';

export interface Fault {
  text: string;
  /** A word of the instruction to point at. */
  word?: string;
  /** The instruction at fault. Default: the one that the rule looks at. */
  of?: ParsedLine;
  place?: Place | undefined;
}

export interface Rule<Subject> {
  name: string;
  description: string;
  /** It is off unless an option asks for it. */
  isExperimental?: boolean;
  find(subject: Subject): Iterable<Fault>;
}

/** The page of Docker's documentation on a rule. */
export function urlOf(rule: { name: string }): string {
  const words = rule.name.replace(/(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, '-').toLowerCase();
  return `https://docs.docker.com/go/dockerfile/rule/${words}/`;
}

/** Rules on the text. */
export const TEXT_RULES: readonly Rule<Lines>[] = [
  {
    name: 'NoEmptyContinuation',
    description: 'Empty continuation lines will become errors in a future release',
    find: ({ emptyContinuations }) => emptyContinuations.map((place) => ({ text: 'Empty continuation line', place })),
  },
];

/** Rules on an instruction as it is written. */
export const LINE_RULES: readonly Rule<ParsedLine>[] = [
  {
    name: 'MaintainerDeprecated',
    description: 'The MAINTAINER instruction is deprecated, use a label instead to define an image author',
    *find({ instruction }) {
      if (instruction.kind === 'maintainer') {
        yield { text: 'Maintainer instruction is deprecated in favor of using label' };
      }
    },
  },
  {
    name: 'StageNameCasing',
    description: 'Stage names should be lowercase',
    *find(parsed) {
      const { name } = aliasOf(parsed);
      if (name !== name.toLowerCase()) yield { text: `Stage name '${name}' should be lowercase`, word: name };
    },
  },
  {
    name: 'FromAsCasing',
    description: "The 'as' keyword should match the case of the 'from' keyword",
    *find(parsed) {
      const { written } = parsed.line;
      const { as } = aliasOf(parsed);
      const isLower = written === written.toLowerCase();
      if (!isLower && written !== written.toUpperCase()) return;
      if (as !== (isLower ? as.toLowerCase() : as.toUpperCase())) {
        yield { text: `'${as}' and '${written}' keywords' casing do not match`, word: ` ${as} ` };
      }
    },
  },
  {
    name: 'InvalidDefinitionDescription',
    description:
      'Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.',
    isExperimental: true,
    *find({ line, instruction }) {
      const names =
        instruction.kind === 'arg'
          ? instruction.args.map(({ name }) => name)
          : instruction.kind === 'from' && instruction.name !== undefined
            ? [instruction.name]
            : [];
      const [first = ''] = line.comments.at(-1)?.split(' ') ?? [];
      if (first === '' || names.length === 0 || names.includes(first)) return;
      const example = names.length > 1 ? '<arg_key>' : names[0];
      yield { text: `Comment for ${line.keyword} should follow the format: \`# ${example} <description>\`` };
    },
  },
];

/** Rules on the whole Dockerfile. */
export const FILE_RULES: readonly Rule<FileSubject>[] = [
  {
    name: 'ReservedStageName',
    description: 'Reserved words should not be used as stage names',
    *find({ stages }) {
      for (const { from } of stages) {
        const { name } = from.instruction;
        if (name === 'context' || name === 'scratch') {
          yield { text: `Stage name should not use the same name as reserved stage "${name}"`, of: from };
        }
      }
    },
  },
  {
    name: 'DuplicateStageName',
    description: 'Stage names should be unique',
    *find({ stages }) {
      const names = new Set<string>();
      for (const { from } of stages) {
        const { name } = from.instruction;
        if (name === undefined) continue;
        if (names.has(name)) yield { text: `Duplicate stage name "${name}", stage names should be unique`, of: from };
        names.add(name);
      }
    },
  },
  {
    name: 'ConsistentInstructionCasing',
    description: 'All commands within the Dockerfile should use the same casing (either upper or lower)',
    *find({ stages }) {
      const all = stages.flatMap(({ from, steps }) => [from, ...steps]);
      const lower = all.filter(({ line: { written } }) => written === written.toLowerCase()).length;
      const upper = all.filter(({ line: { written } }) => written === written.toUpperCase()).length;
      const isLower = lower > upper;
      const casing = isLower ? 'lowercase' : 'uppercase';
      for (const of of all) {
        const { written } = of.line;
        if (written === (isLower ? written.toLowerCase() : written.toUpperCase())) continue;
        const text = `Command '${written}' should match the case of the command majority (${casing})`;
        yield { text, word: written, of };
      }
    },
  },
  {
    name: 'InvalidDefaultArgInFrom',
    description: 'Default value for global ARG results in an empty or invalid base image name',
    *find({ stages, defaultImage }) {
      for (const stage of stages) {
        const { image } = stage.from.instruction;
        const name = image.includes('$') ? defaultImage(stage) : undefined;
        if (name === undefined || isImageName(name)) continue;
        const text = `Default value for ARG ${image} results in empty or invalid base image name`;
        yield { text, word: image, of: stage.from };
      }
    },
  },
];

/** Rules on FROM, with its arguments. */
export const FROM_RULES: readonly Rule<FromSubject>[] = [
  {
    name: 'UndefinedArgInFrom',
    description: 'FROM command must use declared ARGs',
    *find({ image, platform, declared }) {
      for (const name of [...image.unmatched, ...(platform?.unmatched ?? [])]) {
        if (declared.has(name)) continue;
        yield { text: `FROM argument '${name}' is not declared${didYouMean(name, declared)}`, word: name };
      }
    },
  },
  {
    name: 'RedundantTargetPlatform',
    description: 'Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior',
    *find({ from, platform, target }) {
      if (platform?.matched.size !== 1 || !platform.matched.has('TARGETPLATFORM')) return;
      if (platform.unmatched.size > 0 || platform.text !== target) return;
      const text = `Setting platform to predefined ${from.platform} in FROM is redundant as this is the default behavior`;
      yield { text, word: from.platform ?? '' };
    },
  },
  {
    name: 'FromPlatformFlagConstDisallowed',
    description: 'FROM --platform flag should not use a constant value',
    *find({ from, platform }) {
      if (platform === undefined || platform.matched.size + platform.unmatched.size > 0) return;
      const parsed = platformOf(platform.text);
      if (parsed === undefined) return;
      if ([parsed.os, parsed.architecture].some((word) => from.name?.includes(word))) return;
      const text = `FROM --platform flag should not use constant value "${platform.text}"`;
      yield { text, word: platform.text };
    },
  },
];

/** Rules on an instruction of a stage. */
export const STEP_RULES: readonly Rule<StepSubject>[] = [
  {
    name: 'UndefinedVar',
    description: 'Variables should be defined before their use',
    *find({ words, stage }) {
      for (const { unmatched } of words) {
        for (const name of unmatched) {
          if (stage.isDeclared(name) || NOT_VARIABLES.has(name)) continue;
          const hint = didYouMean(name, stage.variables(), '$');
          yield { text: `Usage of undefined variable '$${name}'${hint}`, word: name };
        }
      }
    },
  },
  {
    name: 'LegacyKeyValueFormat',
    description: 'Legacy key/value format with whitespace separator should not be used',
    *find({ instruction: { kind, text }, name }) {
      if ((kind !== 'env' && kind !== 'label') || splitWords(text, '\\')[0]?.includes('=')) return;
      yield { text: `"${name} key=value" should be used instead of legacy "${name} key value" format` };
    },
  },
  {
    name: 'SecretsUsedInArgOrEnv',
    description: 'Sensitive data should not be used in the ARG or ENV commands',
    *find({ instruction, names }) {
      for (const name of names) {
        if (!SECRET.test(name) || NO_SECRET.test(name)) continue;
        const text = `Do not use ARG or ENV instructions for sensitive data (${instruction.keyword} "${name}")`;
        yield { text, word: name };
      }
    },
  },
  {
    name: 'WorkdirRelativePath',
    description:
      'Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes',
    *find({ workdir, stage }) {
      if (workdir === undefined || stage.hasWorkdir || workdir.startsWith('/')) return;
      yield {
        text: `Relative workdir ${JSON.stringify(workdir)} can have unexpected results if the base image changes`,
      };
    },
  },
  {
    name: 'MultipleInstructionsDisallowed',
    description: 'Multiple instructions of the same type should not be used in the same stage',
    *find({ instruction, name, stage }) {
      // The earlier one is the one without effect.
      const place = stage.earlier(instruction.kind);
      if (place === undefined) return;
      const text = `Multiple ${name} instructions should not be used in the same stage because only the last one will be used`;
      yield { text, place };
    },
  },
  {
    name: 'JSONArgsRecommended',
    description: 'JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals',
    *find({ instruction, name, stage }) {
      if (instruction.kind !== 'cmd' && instruction.kind !== 'entrypoint') return;
      if (instruction.command.form === 'exec' || stage.hasShell) return;
      yield { text: `JSON arguments recommended for ${name} to prevent unintended behavior related to OS signals` };
    },
  },
  {
    name: 'CopyIgnoredFile',
    description: 'Attempting to Copy file that is excluded by .dockerignore',
    *find({ instruction, sources, isIgnored }) {
      const act = instruction.kind === 'add' ? 'Add' : 'Copy';
      for (const source of sources) {
        if (instruction.kind === 'add' && isRemote(source)) continue;
        const path = posix.normalize(source).replace(/(?<=.)\/$/, '');
        const below = Buffer.from(path.replace(/^\//, '')).toString('latin1');
        if (below.length > MAX_PATH || !isIgnored(below)) continue;
        yield { text: `Attempting to ${act} file "${path}" that is excluded by .dockerignore`, word: source };
      }
    },
  },
  {
    name: 'ExposeProtoCasing',
    description: 'Protocol in EXPOSE instruction should be lowercase',
    *find({ ports }) {
      for (const { text, exposed } of ports) {
        if (exposed.protocol === exposed.protocol.toLowerCase()) continue;
        yield { text: `Defined protocol '${text}' in EXPOSE instruction should be lowercase`, word: text };
      }
    },
  },
  {
    name: 'ExposeInvalidFormat',
    description:
      'IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release',
    *find({ ports }) {
      for (const { text, exposed } of ports) {
        if (!exposed.hasHost) continue;
        const fault = 'EXPOSE instruction should not define an IP address or host-port mapping';
        yield { text: `${fault}, found '${text}'`, word: text };
      }
    },
  },
];

/** Bytes of a path that a file can have. */
const MAX_PATH = 4096;
/** Arguments that are read by the builder, and never variables. */
const NOT_VARIABLES = new Set(['BUILDKIT_SBOM_SCAN_CONTEXT', 'BUILDKIT_SBOM_SCAN_STAGE']);
const SECRET = /(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)/i;
const NO_SECRET = /(?:_|^)(?:public|file|version)(?:_|$)/i;

/** `AS name` of FROM, as written; '' if it has none. */
function aliasOf({ line, instruction }: ParsedLine): { as: string; name: string } {
  if (instruction.kind !== 'from' || instruction.name === undefined) return { as: '', name: '' };
  const [name = '', as = ''] = line.text.split(/\s+/).reverse();
  return { as, name };
}

function isImageName(name: string): boolean {
  try {
    parseName(name);
    return true;
  } catch {
    return false;
  }
}

function platformOf(text: string) {
  try {
    return parsePlatform(text);
  } catch {
    return undefined;
  }
}
