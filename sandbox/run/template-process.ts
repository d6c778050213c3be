// The program that makes a template in the background, for the run that did not find one. It gets out
// of the way of whatever else the host does: it waits, it has the lowest priority, and it is what the
// kernel ends first when memory is short.
import '../../libc/no-debugger.js';

import { writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../errors/index.js';
import { Home } from '../home/home.js';
import { templateBudget } from '../home/template-budget.js';
import { TemplateStore } from '../machine/templates.js';
import { makeTemplate, templateNameFor } from './make-template.js';
import type { TemplateOrder } from './template-order.js';

/** Milliseconds in which the container that the template follows has the host for its start. */
const DELAY = 2_000;

setPriority(constants.priority.PRIORITY_LOW);
for (const [file, value] of [
  // A session of its own has a share of the processors of its own, with a priority of its own.
  ['/proc/self/autogroup', constants.priority.PRIORITY_LOW],
  ['/proc/self/oom_score_adj', 1000],
] as const) {
  try {
    writeFileSync(file, String(value));
  } catch {
    // The host's kernel has no such file.
  }
}
await sleep(DELAY);
await make(JSON.parse(process.argv[2] ?? '') as TemplateOrder);

async function make({ home: path, runtime, shape, options }: TemplateOrder): Promise<void> {
  const home = new Home(path, runtime);
  const store = new TemplateStore(home.templates);
  const budget = templateBudget();
  let name: string | undefined;
  try {
    name = await templateNameFor(shape, options);
    if (store.wasGivenUp(name)) return;
    await makeTemplate(home, shape, { ...options, keep: true });
    const tooLarge = store.prune(budget).find((removed) => removed.name === name);
    if (tooLarge !== undefined) store.giveUp(name, `its ${tooLarge.size} bytes are more than TSVM_TEMPLATES_SIZE`);
  } catch (error) {
    if (name !== undefined) store.giveUp(name, messageOf(error));
  }
}
