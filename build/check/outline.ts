// What a user may set in a build of a target: its arguments, secrets and SSH agents.
import { descriptionOf } from './globals.js';
import { surveyDockerfile } from './survey.js';
import type { DeclaredArg, MountedId, Survey, SurveyedStage, SurveyOptions } from './surveyed.js';

export interface Outline {
  /** Of the target; '' if it has none. */
  name: string;
  description: string;
  args: DeclaredArg[];
  secrets: MountedId[];
  ssh: MountedId[];
}

/** @throws BuildError */
export async function outlineDockerfile(source: string, options: SurveyOptions): Promise<Outline> {
  const survey = await surveyDockerfile(source, { ...options, allStages: false }, {});
  const { plan, stages } = survey;
  const target = stages.get(plan.target)!;
  const args = new Map<string, DeclaredArg>();
  const secrets = new Map<string, MountedId>();
  const ssh = new Map<string, MountedId>();
  for (const stage of usedStages(survey)) {
    for (const arg of argsOf(stage, survey)) if (!args.has(arg.name)) args.set(arg.name, arg);
    for (const one of stage.secrets) if (!secrets.has(one.id)) secrets.set(one.id, one);
    for (const one of stage.ssh) if (!ssh.has(one.id)) ssh.set(one.id, one);
  }
  const { name } = target.stage;
  return {
    name: name ?? '',
    description: descriptionOf(target.from, name),
    args: inOrder(args),
    secrets: inOrder(secrets),
    ssh: inOrder(ssh),
  };
}

/** The target first, then what it begins from and copies from. */
function* usedStages({ plan, stages }: Survey): Generator<SurveyedStage> {
  const seen = new Set<number>();
  const pending = [plan.target];
  for (let index = pending.pop(); index !== undefined; index = pending.pop()) {
    const stage = stages.get(index);
    if (stage === undefined || seen.has(index)) continue;
    seen.add(index);
    yield stage;
    const { base } = stage.stage;
    pending.push(...[...stage.uses].reverse());
    if (base.is === 'stage') pending.push(base.stage);
  }
}

/** The arguments of a stage, and the global ones that it and its FROM need. */
function* argsOf({ args, inherited, fromArgs }: SurveyedStage, { globals }: Survey): Generator<DeclaredArg> {
  yield* args;
  const seen = new Set<string>();
  const pending = [...fromArgs, ...inherited];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const arg = globals.get(name);
    if (arg === undefined || seen.has(name)) continue;
    seen.add(name);
    yield arg;
    for (const need of arg.needs) pending.push(need);
  }
}

function inOrder<T extends DeclaredArg | MountedId>(found: ReadonlyMap<string, T>): T[] {
  return [...found.values()].sort((a, b) => a.place.line - b.place.line);
}
