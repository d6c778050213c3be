// Docker's build checks: the rules' findings in a Dockerfile, and the error that ends its build.
import { BuildError, type Place } from '../build-error.js';
import { MAX_FINDINGS } from '../limits.js';
import { type CheckOptions, checkOptions, commentOptions, NO_OPTIONS } from './options.js';
import { type Fault, FILE_RULES, FROM_RULES, LINE_RULES, type Rule, STEP_RULES, TEXT_RULES, urlOf } from './rules.js';
import { surveyDockerfile } from './survey.js';
import type { SurveyOptions } from './surveyed.js';

/** What a rule says of a Dockerfile. */
export interface Finding {
  rule: string;
  description: string;
  url: string;
  detail: string;
  place: Place;
}

export interface Checked {
  /** In the order of their lines. */
  findings: Finding[];
  /** What ends the build. */
  error: BuildError | undefined;
  /** True if the error is that there are findings, by the option `error=true`. */
  isViolated: boolean;
}

/** Characters of what a finding says: a word may have a million, and be found a thousand times. */
const MAX_DETAIL = 1000;
/** Characters of a word that a caret points at. */
const MAX_POINTED = 256;
/** Characters of a line in which it is looked for: each finding looks. */
const MAX_SEARCHED = 4096;

/** Never fails: what is wrong with the Dockerfile is in the result. */
export async function checkDockerfile(source: string, options: SurveyOptions): Promise<Checked> {
  const findings = new Findings(source);
  let error: BuildError | undefined;
  try {
    await surveyDockerfile(source, options, {
      text(lines) {
        findings.options = checkOptions(lines.check, options.buildArgs);
        for (const rule of TEXT_RULES) findings.add(rule, lines);
      },
      line(parsed) {
        for (const rule of LINE_RULES) findings.add(rule, parsed, parsed.line);
      },
      file(file) {
        for (const rule of FILE_RULES) findings.add(rule, file);
      },
      from(from, { line }) {
        for (const rule of FROM_RULES) findings.add(rule, from, line);
      },
      step(step, at) {
        for (const rule of STEP_RULES) findings.add(rule, step, at);
      },
    });
  } catch (caught) {
    if (!(caught instanceof BuildError)) throw caught;
    error = caught;
  }
  const violation = findings.violation();
  return { findings: findings.sorted(), error: error ?? violation, isViolated: violation !== undefined };
}

interface Where {
  place: Place;
  comments: readonly string[];
}

class Findings {
  options: CheckOptions = NO_OPTIONS;
  readonly #source: readonly string[];
  readonly #all: Finding[] = [];

  constructor(source: string) {
    this.#source = source.split(/\r?\n/);
  }

  add<Subject>(rule: Rule<Subject>, subject: Subject, where?: Where): void {
    if (this.#all.length >= MAX_FINDINGS || !this.#isOn(rule, where?.comments)) return;
    for (const fault of rule.find(subject)) {
      const of = fault.of?.line;
      const place = fault.place ?? of?.place ?? where?.place;
      if (place === undefined || (of !== undefined && !this.#isOn(rule, of.comments))) continue;
      const { name, description } = rule;
      const detail = shortened(fault.text);
      this.#all.push({ rule: name, description, url: urlOf(rule), detail, place: this.#at(place, fault) });
      if (this.#all.length >= MAX_FINDINGS) return;
    }
  }

  sorted(): Finding[] {
    return this.#all.toSorted((a, b) => a.place.line - b.place.line);
  }

  violation(): BuildError | undefined {
    if (!this.options.isError || this.#all.length === 0) return undefined;
    const rules = new Set(this.sorted().map(({ rule }) => rule));
    return new BuildError('bad-dockerfile', `lint violation found for rules: ${[...rules].join(', ')}`);
  }

  #isOn({ name, isExperimental }: { name: string; isExperimental?: boolean }, comments: readonly string[] = []) {
    const all = [this.options, commentOptions(comments)];
    if (isExperimental) return all.some(({ experimental }) => experimental === 'all' || experimental.has(name));
    return !all.some(({ skip }) => skip === 'all' || skip.has(name));
  }

  /** The place with the column of the word at fault, if the first line has it. */
  #at(place: Place, { word }: Fault): Place {
    if (word === undefined || word.trim() === '' || word.length > MAX_POINTED) return place;
    const escaped = word.replace(/[^A-Za-z0-9_\s]/g, '\\$&');
    const whole = new RegExp(`(?<![A-Za-z0-9_](?=[A-Za-z0-9_]))${escaped}(?![A-Za-z0-9_])`).exec(
      (this.#source[place.line - 1] ?? '').slice(0, MAX_SEARCHED),
    );
    if (whole === null) return place;
    return { ...place, column: whole.index + 1 + (word.length - word.trimStart().length) };
  }
}

function shortened(text: string): string {
  return text.length > MAX_DETAIL ? `${text.slice(0, MAX_DETAIL)}...` : text;
}
