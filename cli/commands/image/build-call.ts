// The other methods of tsvm build: what is told of a Dockerfile without building it.
import type { InspectOptions } from '../../../build/index.js';
import { UsageError } from '../../output/errors.js';
import {
  checkJson,
  checkText,
  outlineJson,
  outlineText,
  type Source,
  targetsJson,
  targetsText,
} from './build-call-text.js';

const METHODS = ['build', 'check', 'outline', 'targets'] as const;
type Method = (typeof METHODS)[number];

export interface Call {
  method: Method;
  isJson: boolean;
  /** The exit code of a check is 0 whatever it finds. */
  ignoresStatus: boolean;
}

/**
 * Parses `METHOD[,format=text|json][,ignorestatus=true|false]`. Docker's `lint` is `check`.
 * @throws UsageError
 */
export function parseCall(text: string): Call {
  const call: Call = { method: 'build', isJson: false, ignoresStatus: false };
  const [name = '', ...fields] = text.split(',');
  const method = METHODS.find((each) => each === (name === 'lint' ? 'check' : name));
  if (method === undefined) throw new UsageError(`invalid --call: ${text}: expected one of ${METHODS.join(', ')}`);
  call.method = method;
  for (const field of fields) {
    const [, key, value = ''] = /^([^=]*)=(.*)$/.exec(field) ?? [];
    if (key === 'format' && ['text', 'json'].includes(value)) call.isJson = value === 'json';
    else if (key === 'ignorestatus' && ['true', 'false'].includes(value)) call.ignoresStatus = value === 'true';
    else throw new UsageError(`invalid --call: ${text}: unexpected ${field}`);
  }
  return call;
}

/**
 * Prints to stdout.
 * @param name of the Dockerfile, for messages
 * @returns the exit code, BuildKit's: 1 if a check finds something
 * @throws BuildError
 */
export async function runCall({ method, isJson, ignoresStatus }: Call, options: InspectOptions, name: string) {
  const { check, outline, targetsOf } = await import('../../../build/index.js');
  const source: Source = { name, text: options.dockerfile };
  const print = (text: string) => process.stdout.write(text);
  if (method === 'targets') {
    const targets = targetsOf(options.dockerfile);
    print(isJson ? targetsJson(targets, source) : targetsText(targets));
  } else if (method === 'outline') {
    const found = await outline(options);
    print(isJson ? outlineJson(found, source) : outlineText(found));
  } else {
    const checked = await check(options);
    print(isJson ? checkJson(checked, source) : checkText(checked, source));
    if (checked.error !== undefined && !isJson) throw checked.error;
    const isFaulty = checked.findings.length > 0 || checked.error !== undefined;
    return isFaulty && !ignoresStatus ? 1 : 0;
  }
  return 0;
}
