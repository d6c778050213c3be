// The template that a run's machine comes from, or is to come from next time.
import { messageOf } from '../../errors/index.js';
import type { MachineSpec } from '../../vmm/machine.js';
import type { Home } from '../home/home.js';
import { templateBudget } from '../home/template-budget.js';
import type { Log } from '../log.js';
import type { MachineFiles } from '../machine/machine-files.js';
import { TemplateStore, templateName } from '../machine/templates.js';
import type { RunSpec } from '../spec/run-spec.js';
import { startTemplateProcess } from './template-order.js';
import { isOnKvm, shapeOf } from './template-spec.js';

/** A template that a machine continues. */
export interface UsedTemplate {
  /** The machine of the run, as one that continues the template. */
  spec: MachineSpec;
  files: MachineFiles;
  /** Removes it: it could not be continued. */
  discard(reason: string): void;
}

/** What a home has for a machine. */
export interface TemplateChoice {
  /** Undefined if there is none, or the run wants none. */
  used: UsedTemplate | undefined;
  /**
   * Has another process make the template that the run did not find, for later ones. Called once the
   * container runs.
   * @param accelerator what runs the guest
   */
  makeMissing(accelerator: string | undefined): void;
}

const NONE: TemplateChoice = { used: undefined, makeMissing: () => {} };

/** Finds the template for a machine. One that is damaged is removed. @throws ImageError `bad-settings` */
export async function findTemplate(spec: MachineSpec, run: RunSpec, home: Home, log: Log): Promise<TemplateChoice> {
  const shape = shapeOf(spec);
  if (run.cold || shape === undefined || templateBudget() === 0) return NONE;
  const store = new TemplateStore(home.templates);
  const makeMissing = (accelerator: string | undefined) => {
    if (accelerator !== 'kvm') return;
    try {
      if (!store.isWritable || store.isBusy || store.wasGivenUp(templateName(spec, shape))) return;
      startTemplateProcess({ home: home.path, runtime: home.runtime, shape, run });
    } catch (error) {
      log.warn(`no template is made: ${messageOf(error)}`);
    }
  };
  if (!isOnKvm(spec, home.probeCache)) return { ...NONE, makeMissing };
  const name = templateName(spec, shape);
  try {
    const files = await store.open(name);
    if (files === undefined) return { ...NONE, makeMissing };
    const discard = (reason: string) => {
      store.remove(name);
      store.giveUp(name, reason);
    };
    return { ...NONE, used: { spec: { ...spec, accel: 'kvm', isSaved: true }, files, discard } };
  } catch (error) {
    log.warn(`the container starts cold: ${messageOf(error)}`);
    store.remove(name);
    return { ...NONE, makeMissing };
  }
}
