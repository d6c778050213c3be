// Starts the process that makes a template in the background (template-process.ts).
import { spawn } from 'node:child_process';
import { defined } from '../defined.js';
import type { TemplateShape } from '../machine/templates.js';
import { programEnvironment, TEMPLATE_PROGRAM } from '../programs.js';
import type { RunSpec } from '../spec/run-spec.js';

/** The argument of the process, as JSON. */
export interface TemplateOrder {
  /** Path of the home. */
  home: string;
  /** Path of the folder of its sockets. */
  runtime: string;
  shape: TemplateShape;
  options: Pick<RunSpec, 'kernel' | 'kernelModules' | 'cgroupParent' | 'jail'>;
}

/**
 * Starts the process, which belongs to nobody: it ends by itself, and what it has not finished is
 * removed by the next one.
 */
export function startTemplateProcess({
  run: { kernel, kernelModules, cgroupParent, jail },
  ...order
}: Omit<TemplateOrder, 'options'> & { run: RunSpec }): void {
  const whole: TemplateOrder = { ...order, options: defined({ kernel, kernelModules, cgroupParent, jail }) };
  const child = spawn(process.execPath, [TEMPLATE_PROGRAM, JSON.stringify(whole)], {
    stdio: 'ignore',
    detached: true,
    cwd: '/',
    env: programEnvironment(),
  });
  child.on('error', () => {});
  child.unref();
}
