// Parses the instructions of a Dockerfile (Dockerfile reference). What a variable may change is
// checked later, when its value is known.
import { BuildError, type Place } from '../build-error.js';
import { type Flags, takeFlags } from './flags.js';
import type { CommandForm, CopyInstruction, Health, Instruction, Pair } from './instruction.js';
import { type Line, splitLines } from './lines.js';
import { type Escape, removeQuotes, splitWords, wordsAt } from './words.js';

export interface Dockerfile {
  escapeToken: Escape;
  instructions: Instruction[];
  /** The value of the parser directive `check`. */
  check?: string | undefined;
}

const NOT_TRIGGERS = ['ONBUILD', 'FROM', 'MAINTAINER'];
const STAGE_NAME = /^[a-z][a-z0-9_.-]*$/;

/** @throws BuildError `bad-dockerfile`, `too-large` */
export function parseDockerfile(source: string): Dockerfile {
  const { escapeToken, lines, check } = splitLines(source);
  return { escapeToken, instructions: lines.map((line) => parseLine(line, escapeToken)), check };
}

/**
 * Parses the instruction that an ONBUILD of a base image holds.
 * @throws BuildError `bad-dockerfile`
 */
export function parseTrigger(text: string, place: Place): Instruction {
  const { escapeToken, lines } = splitLines(text);
  const [line, ...others] = lines;
  if (line === undefined || others.length > 0) throw bad('ONBUILD must have one instruction', place);
  checkTrigger(line.keyword, place);
  return parseLine({ ...line, place }, escapeToken);
}

/** @throws BuildError `bad-dockerfile` */
export function parseLine(line: Line, escapeToken: Escape): Instruction {
  const { keyword, text, place } = line;
  const parser = PARSERS[keyword];
  if (parser === undefined) throw bad(`unknown instruction: ${keyword}`, { ...place, column: 1 });
  if (text === '' && keyword !== 'RUN') throw bad(`${keyword} requires at least one argument`, place);
  return { keyword, text, place, ...parser(line, escapeToken) } as Instruction;
}

type Parsed = Instruction extends infer Each
  ? Each extends Instruction
    ? Omit<Each, 'keyword' | 'text' | 'place'>
    : never
  : never;
type Parser = (line: Line, escapeToken: Escape) => Parsed;

const PARSERS: Record<string, Parser> = {
  FROM: parseFrom,
  RUN(line, escapeToken) {
    const { flags, rest } = takeFlags(line, escapeToken, { mount: 'each', network: 'one', security: 'one' });
    if (rest === '') throw bad('RUN requires at least one argument', line.place);
    const security = flags.one('security');
    if (security !== undefined && security !== 'sandbox')
      throw bad(`security mode ${security} is not allowed`, line.place);
    const network = flags.one('network');
    if (network !== undefined && !['default', 'none', 'host'].includes(network)) {
      throw bad(`invalid network mode: ${network}`, line.place);
    }
    const command = commandForm(rest);
    return { kind: 'run', command, heredocs: line.heredocs, mounts: flags.each('mount'), network };
  },
  COPY(line, escapeToken) {
    const { flags, rest } = takeFlags(line, escapeToken, {
      from: 'one',
      chown: 'one',
      chmod: 'one',
      link: 'boolean',
      parents: 'boolean',
      exclude: 'each',
    });
    return copy('copy', line, rest, escapeToken, flags);
  },
  ADD(line, escapeToken) {
    const { flags, rest } = takeFlags(line, escapeToken, {
      chown: 'one',
      chmod: 'one',
      link: 'boolean',
      exclude: 'each',
      checksum: 'one',
      'keep-git-dir': 'boolean',
      unpack: 'boolean',
    });
    return copy('add', line, rest, escapeToken, flags);
  },
  ENV: (line, escapeToken) => ({ kind: 'env', pairs: pairs(line, escapeToken) }),
  LABEL: (line, escapeToken) => ({ kind: 'label', pairs: pairs(line, escapeToken) }),
  ARG(line, escapeToken) {
    const args = splitWords(line.text, escapeToken).map((word) => {
      const equals = word.indexOf('=');
      const name = removeQuotes(equals < 0 ? word : word.slice(0, equals), escapeToken);
      if (name === '') throw bad(`ARG needs a name: ${word}`, line.place);
      return { name, value: equals < 0 ? undefined : word.slice(equals + 1) };
    });
    return { kind: 'arg', args };
  },
  CMD: (line, escapeToken) => ({ kind: 'cmd', command: commandForm(noFlags(line, escapeToken)) }),
  ENTRYPOINT: (line, escapeToken) => ({ kind: 'entrypoint', command: commandForm(noFlags(line, escapeToken)) }),
  SHELL(line, escapeToken) {
    const command = commandForm(noFlags(line, escapeToken));
    if (command.form !== 'exec' || command.argv.length === 0)
      throw bad('SHELL requires the arguments to be in JSON form', line.place);
    return { kind: 'shell', argv: command.argv };
  },
  USER: (line, escapeToken) => ({ kind: 'user', value: noFlags(line, escapeToken) }),
  WORKDIR: (line, escapeToken) => ({ kind: 'workdir', value: noFlags(line, escapeToken) }),
  STOPSIGNAL: (line, escapeToken) => ({ kind: 'stopsignal', value: noFlags(line, escapeToken) }),
  MAINTAINER: (line, escapeToken) => ({ kind: 'maintainer', value: noFlags(line, escapeToken) }),
  EXPOSE: (line, escapeToken) => ({ kind: 'expose', words: splitWords(noFlags(line, escapeToken), escapeToken) }),
  VOLUME(line, escapeToken) {
    const text = noFlags(line, escapeToken);
    const words = jsonStrings(text) ?? splitWords(text, escapeToken);
    if (words.length === 0 || words.includes('')) throw bad('VOLUME specified can not be an empty string', line.place);
    return { kind: 'volume', words };
  },
  HEALTHCHECK: parseHealth,
  ONBUILD(line) {
    const keyword = /^\S+/.exec(line.text)?.[0].toUpperCase() ?? '';
    checkTrigger(keyword, line.place);
    const parser = PARSERS[keyword];
    if (parser === undefined) throw bad(`unknown instruction: ${keyword}`, line.place);
    const trigger = [line.text, ...line.heredocs.flatMap(({ name, contents }) => [contents + name])].join('\n');
    // Errors in it are this Dockerfile's, not those of the image made from it.
    parseTrigger(trigger, line.place);
    return { kind: 'onbuild', trigger };
  },
};

function checkTrigger(keyword: string, place: Place): void {
  if (keyword === 'ONBUILD') throw bad("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", place);
  if (NOT_TRIGGERS.includes(keyword)) throw bad(`${keyword} isn't allowed as an ONBUILD trigger`, place);
}

function parseFrom(line: Line, escapeToken: Escape): Parsed {
  const { flags, rest } = takeFlags(line, escapeToken, { platform: 'one' });
  const [image = '', as, name, ...others] = splitWords(rest, escapeToken);
  if (image === '' || others.length > 0 || (as !== undefined && (as.toLowerCase() !== 'as' || name === undefined))) {
    throw bad('FROM requires either one or three arguments', line.place);
  }
  const lower = name?.toLowerCase();
  if (lower !== undefined && !STAGE_NAME.test(lower)) {
    throw bad(`invalid name for build stage: "${name}", name can't start with a number or contain symbols`, line.place);
  }
  return { kind: 'from', image, platform: flags.one('platform'), name: lower };
}

function copy(kind: 'copy' | 'add', line: Line, rest: string, escapeToken: Escape, flags: Flags): Parsed {
  const all = jsonStrings(rest) ?? splitWords(rest, escapeToken);
  const { keyword, heredocs, place } = line;
  const words = heredocs.length === 0 ? all : all.filter((word) => !/^0?<<-?[^<]/.test(word));
  const destination = words.pop();
  if (destination === undefined || words.length + heredocs.length === 0) {
    throw bad(
      `${keyword} requires at least two arguments, but only one was provided. Destination could not be determined`,
      place,
    );
  }
  const parsed: CopyInstruction = {
    kind,
    sources: words,
    destination,
    heredocs,
    from: flags.one('from'),
    chown: flags.one('chown'),
    chmod: flags.one('chmod'),
    link: flags.is('link'),
    parents: flags.is('parents'),
    excludes: flags.each('exclude'),
    checksum: flags.one('checksum'),
    unpack: flags.has('unpack') ? flags.is('unpack') : undefined,
    keepsGit: flags.is('keep-git-dir'),
  };
  return parsed;
}

/** `name=value ...`, or the old form `name value`, whose value is the rest of the line. */
function pairs(line: Line, escapeToken: Escape): Pair[] {
  const { keyword, place } = line;
  const text = noFlags(line, escapeToken);
  const [first, second] = wordsAt(text, escapeToken);
  if (first === undefined) throw bad(`${keyword} requires at least one argument`, place);
  if (!first.word.includes('=')) {
    if (second === undefined) throw bad(`${keyword} must have two arguments`, place);
    return [[first.word, text.slice(second.at)]];
  }
  return splitWords(text, escapeToken).map((word) => {
    const equals = word.indexOf('=');
    if (equals < 0) {
      throw bad(`Syntax error - can't find = in "${word}". Must be of the form: name=value`, place);
    }
    if (equals === 0) throw bad(`${keyword} names can not be blank`, place);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

function commandForm(text: string): CommandForm {
  const argv = jsonStrings(text);
  return argv === undefined ? { form: 'shell', text } : { form: 'exec', argv };
}

/** The strings of a JSON list; undefined if the text is none. */
function jsonStrings(text: string): string[] | undefined {
  if (!text.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : undefined;
  } catch {
    return undefined;
  }
}

const DURATIONS = {
  interval: 'interval',
  timeout: 'timeout',
  'start-period': 'startPeriod',
  'start-interval': 'startInterval',
} as const;

function parseHealth(line: Line, escapeToken: Escape): Parsed {
  const { flags, rest } = takeFlags(line, escapeToken, {
    interval: 'one',
    timeout: 'one',
    'start-period': 'one',
    'start-interval': 'one',
    retries: 'one',
  });
  const [, type = '', text = ''] = /^(\S*)\s*(.*)$/s.exec(rest) ?? [];
  const health: Health = { command: undefined };
  if (type.toUpperCase() === 'NONE') {
    if (text !== '') throw bad('HEALTHCHECK NONE takes no arguments', line.place);
    return { kind: 'healthcheck', health };
  }
  if (type.toUpperCase() !== 'CMD') {
    throw bad(`Unknown type "${type.toUpperCase()}" in HEALTHCHECK (try CMD)`, line.place);
  }
  if (text === '') throw bad('Missing command after HEALTHCHECK CMD', line.place);
  health.command = commandForm(text);
  for (const [flag, field] of Object.entries(DURATIONS) as [string, (typeof DURATIONS)[keyof typeof DURATIONS]][]) {
    const value = flags.one(flag);
    if (value !== undefined) health[field] = duration(value, flag, line.place);
  }
  const retries = flags.one('retries');
  if (retries !== undefined) {
    if (!/^\d{1,9}$/.test(retries)) throw bad(`--retries must be a number: ${retries}`, line.place);
    health.retries = Number(retries);
  }
  return { kind: 'healthcheck', health };
}

const UNITS: Record<string, number> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Nanoseconds of Go's format: `1h30m`, `1.5s`. */
function duration(text: string, flag: string, place: Place): number {
  let total = 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?|\.\d+)(ns|us|ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
    if (text === '0') return 0;
    throw bad(`invalid duration of --${flag}: ${text}`, place);
  }
  for (const [, number, unit = ''] of parts) total += Number(number) * (UNITS[unit] ?? 0);
  if (total > 0 && total < 1e6) throw bad(`the duration of --${flag} cannot be less than 1ms`, place);
  return Math.round(total);
}

function noFlags(line: Line, escapeToken: Escape): string {
  return takeFlags(line, escapeToken, {}).rest;
}

function bad(message: string, place: Place): BuildError {
  return new BuildError('bad-dockerfile', message, { place });
}
