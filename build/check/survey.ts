// Goes through a Dockerfile as a build would, without running anything: variables, stages, and what
// each instruction is with its variables expanded. An observer sees each part once it is known.
import { splitLines } from '../dockerfile/lines.js';
import { parseLine } from '../dockerfile/parse.js';
import { ExposedReader } from '../dockerfile/port.js';
import { neededStages, planStages } from '../plan.js';
import { Expander } from './expander.js';
import { defaultImages, readGlobals } from './globals.js';
import { ignoredPaths } from './ignored.js';
import { firstScope, type Scope } from './scope.js';
import { StageSurvey } from './stage-survey.js';
import type { FromSubject, ParsedLine, StageLines } from './subjects.js';
import type { Observer, Survey, SurveyedStage, SurveyOptions } from './surveyed.js';

/** @throws BuildError */
export async function surveyDockerfile(source: string, options: SurveyOptions, observer: Observer): Promise<Survey> {
  const lines = splitLines(source);
  const { escapeToken } = lines;
  observer.text?.(lines);
  const parsed = lines.lines.map((line): ParsedLine => {
    const one = { line, instruction: parseLine(line, escapeToken) };
    observer.line?.(one);
    return one;
  });
  const stages = stagesOf(parsed);
  const head = parsed.slice(0, parsed.length - stages.reduce((sum, { steps }) => sum + steps.length + 1, 0));
  const expander = new Expander(escapeToken);
  observer.file?.({ stages, defaultImage: defaultImages(head, expander) });
  const globals = readGlobals(head, options, expander);
  const names = new Set([...globals.values.keys(), ...globals.args.keys()]);
  const lookup = (name: string) => globals.values.get(name);
  const fromArgs = stages.map(({ from }) => {
    const { image, platform } = from.instruction;
    const { place } = from.line;
    const subject: FromSubject = {
      from: from.instruction,
      image: expander.word(image, lookup, place),
      platform: platform === undefined ? undefined : expander.word(platform, lookup, place),
      declared: names,
      target: globals.values.get('TARGETPLATFORM'),
    };
    observer.from?.(subject, from);
    return new Set([...subject.image.matched, ...(subject.platform?.matched ?? [])]);
  });
  const { buildArgs, target, allStages, platform, contexts = new Map() } = options;
  const instructions = parsed.map(({ instruction }) => instruction);
  const plan = planStages({ escapeToken, instructions }, { target, buildArgs, contexts, platform });
  const wanted = allStages && !target ? plan.stages.map(({ index }) => index) : neededStages(plan);
  const work = { plan, globals, options, expander, observer };
  const shared = { ...work, exposed: new ExposedReader(), isIgnored: ignoredPaths(options.ignore) };
  const surveyed = new Map<number, SurveyedStage>();
  const scopes = new Map<number, Scope>();
  for (const index of wanted) {
    const stage = plan.stages[index]!;
    const result: SurveyedStage = {
      ...{ stage, from: stages[index]!.from, fromArgs: fromArgs[index]!, args: [], inherited: new Set() },
      ...{ secrets: [], ssh: [], uses: new Set() },
    };
    const below = stage.base.is === 'stage' ? scopes.get(stage.base.stage) : undefined;
    const scope = below?.continued() ?? (await firstScope(stage, options));
    const survey = new StageSurvey(result, scope, shared);
    const lines = stages[index]!;
    // A context that stands for the stage leaves nothing of it to run.
    survey.run(stage.instructions.length === 0 ? { ...lines, steps: [] } : lines);
    scopes.set(index, scope);
    surveyed.set(index, result);
  }
  return { plan, globals: globals.args, stages: surveyed };
}

function stagesOf(parsed: readonly ParsedLine[]): StageLines[] {
  const stages: StageLines[] = [];
  for (const { line, instruction } of parsed) {
    if (instruction.kind === 'from') stages.push({ from: { line, instruction }, steps: [] });
    else stages.at(-1)?.steps.push({ line, instruction });
  }
  return stages;
}
