// From instructions to a graph of stages: what each stage begins from, and which stages the target
// needs.
import { formatPlatform, ImageError, isSameMachine, MACHINE, type Platform, parsePlatform } from '../images/build.js';
import { BuildError, type Place } from './build-error.js';
import { ExpansionError, expandWord } from './dockerfile/expand.js';
import type { FromInstruction, Instruction } from './dockerfile/instruction.js';
import { mountFrom } from './dockerfile/mount.js';
import type { Dockerfile } from './dockerfile/parse.js';
import type { Escape } from './dockerfile/words.js';
import { MAX_STAGES } from './limits.js';
import { type NamedContexts, namedContext } from './named-contexts.js';
import { platformArgs } from './platform-args.js';

export type Base =
  | { is: 'scratch' }
  | { is: 'stage'; stage: number }
  | { is: 'image'; reference: string }
  /** A named context: its key, and its name as the Dockerfile has it. */
  | { is: 'folder'; key: string; name: string };

export interface Stage {
  index: number;
  /** In lower case; undefined if it has none. */
  name: string | undefined;
  base: Base;
  /** What it is built for. */
  platform: Platform;
  instructions: Instruction[];
  place: Place;
}

export interface Plan {
  escapeToken: Escape;
  stages: Stage[];
  target: number;
  /** Arguments before the first FROM, with their values. */
  globals: ReadonlyMap<string, string>;
}

export interface PlanOptions {
  target?: string | undefined;
  buildArgs: Readonly<Record<string, string>>;
  contexts: NamedContexts;
  /** What the target is built for. Default: this machine. */
  platform?: Platform | undefined;
}

/** @throws BuildError `bad-dockerfile`, `bad-option`, `too-large` */
export function planStages(
  { escapeToken, instructions }: Dockerfile,
  { target, buildArgs, contexts, platform = MACHINE }: PlanOptions,
): Plan {
  const globals = new Map<string, string>(Object.entries(platformArgs(platform)));
  const stages: Stage[] = [];
  /** A context has the name of the last stage, and stands for it. */
  let isReplaced = false;
  for (const instruction of instructions) {
    const { place } = instruction;
    const last = stages.at(-1);
    const expand = (word: string) => expanded(word, (name) => globals.get(name), escapeToken, place);
    if (instruction.kind === 'from') {
      const stage = stageOf(instruction, place, { stages, contexts, expand, target: platform });
      const context = stage.name === undefined ? undefined : contextBase(contexts, stage.name);
      isReplaced = context !== undefined;
      stages.push({ ...stage, base: context ?? stage.base });
    } else if (last !== undefined) {
      if (!isReplaced) last.instructions.push(instruction);
    } else if (instruction.kind === 'arg') {
      for (const { name, value } of instruction.args) {
        const given = buildArgs[name] ?? (value === undefined ? undefined : expand(value));
        if (given !== undefined) globals.set(name, given);
      }
    } else {
      throw new BuildError(
        'bad-dockerfile',
        'no build stage in current context: the first instruction must be FROM or ARG',
        {
          place,
        },
      );
    }
    if (stages.length > MAX_STAGES)
      throw new BuildError('too-large', `the Dockerfile has more than ${MAX_STAGES} stages`);
  }
  if (stages.length === 0) throw new BuildError('bad-dockerfile', 'dockerfile contains no stages to build');
  return { escapeToken, stages, target: targetOf(stages, target), globals };
}

interface StageScene {
  stages: readonly Stage[];
  contexts: NamedContexts;
  expand: (word: string) => string;
  target: Platform;
}

function stageOf(
  { image, name, platform }: FromInstruction,
  place: Place,
  { stages, contexts, expand, target }: StageScene,
): Stage {
  const reference = expand(image);
  if (reference === '') {
    throw new BuildError('bad-dockerfile', `base name (${image}) should not be blank`, { place });
  }
  const before = stages.findLast((stage) => stage.name === reference.toLowerCase());
  const base: Base =
    before !== undefined
      ? { is: 'stage', stage: before.index }
      : reference === 'scratch'
        ? { is: 'scratch' }
        : (contextBase(contexts, reference) ?? { is: 'image', reference });
  const onPlatform = platform === undefined ? undefined : expand(platform);
  if (onPlatform === '') {
    throw new BuildError('bad-dockerfile', `empty platform value from expression ${platform}`, { place });
  }
  const own = onPlatform === undefined ? target : platformOf(onPlatform, place);
  return { index: stages.length, name, base, platform: before?.platform ?? own, instructions: [], place };
}

/** @throws BuildError `bad-dockerfile` */
function platformOf(text: string, place: Place): Platform {
  try {
    return parsePlatform(text);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new BuildError('bad-dockerfile', `failed to parse platform ${text}: ${error.message}`, {
      place,
      cause: error,
    });
  }
}

/**
 * Refuses a command of a machine that is not here, before anything is built.
 *
 * @throws BuildError `bad-dockerfile`
 */
export function refuseForeignRun(platform: Platform, place: Place): void {
  if (isSameMachine(platform, MACHINE)) return;
  const message = `RUN needs a machine for ${formatPlatform(platform)}, and this one runs ${formatPlatform(MACHINE)}: run it in a stage FROM --platform=$BUILDPLATFORM, and COPY what it makes`;
  throw new BuildError('bad-dockerfile', message, { place });
}

/** @throws BuildError `bad-dockerfile` */
export function refuseForeignRuns(plan: Plan): void {
  for (const index of neededStages(plan)) {
    const { platform, instructions } = plan.stages[index]!;
    for (const { kind, place } of instructions) if (kind === 'run') refuseForeignRun(platform, place);
  }
}

function contextBase(contexts: NamedContexts, name: string): Base | undefined {
  const named = namedContext(contexts, name);
  if (named === undefined) return undefined;
  const { key, context } = named;
  return context.is === 'image' ? { is: 'image', reference: context.reference } : { is: 'folder', key, name };
}

function targetOf(stages: readonly Stage[], target: string | undefined): number {
  if (target === undefined || target === '') return stages.length - 1;
  const named = findStage(stages, target);
  if (named === undefined) throw new BuildError('bad-option', `target stage "${target}" could not be found`);
  return named;
}

/** The stage that a name or a number stands for, among the first `before` ones. */
export function findStage(stages: readonly Stage[], text: string, before = stages.length): number | undefined {
  const earlier = stages.slice(0, before);
  const named = earlier.findLast((stage) => stage.name === text.toLowerCase());
  if (named !== undefined) return named.index;
  return /^\d{1,9}$/.test(text) ? earlier[Number(text)]?.index : undefined;
}

/** Expands a word, and says where it stands if it cannot be expanded. @throws BuildError */
export function expanded(
  word: string,
  lookup: (name: string) => string | undefined,
  escapeToken: Escape,
  place: Place,
): string {
  try {
    return expandWord(word, lookup, escapeToken);
  } catch (error) {
    if (!(error instanceof ExpansionError)) throw error;
    throw new BuildError('bad-dockerfile', `failed to process "${word}": ${error.message}`, { place, cause: error });
  }
}

/**
 * The stages that the target needs, as far as the Dockerfile says: the triggers of a base image may
 * name others.
 */
export function neededStages({ stages, target }: Plan): number[] {
  const needed = new Set<number>();
  const pending = [target];
  for (let index = pending.pop(); index !== undefined; index = pending.pop()) {
    if (needed.has(index)) continue;
    needed.add(index);
    const { base, instructions } = stages[index]!;
    if (base.is === 'stage') pending.push(base.stage);
    for (const instruction of instructions) {
      const copied = instruction.kind === 'copy' ? [instruction.from] : [];
      const mounted = instruction.kind === 'run' ? instruction.mounts.map(mountFrom) : [];
      for (const from of [...copied, ...mounted]) {
        const stage = from === undefined ? undefined : findStage(stages, from, index);
        if (stage !== undefined) pending.push(stage);
      }
    }
  }
  return [...needed].sort((a, b) => a - b);
}
