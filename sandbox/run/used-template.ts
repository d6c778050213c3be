// The template that a run's machine comes from.
import { messageOf } from '../../errors/index.js';
import type { MachineSpec } from '../../vmm/machine.js';
import type { Home } from '../home/home.js';
import type { Log } from '../log.js';
import type { MachineFiles } from '../machine/machine-files.js';
import { TemplateStore, templateName } from '../machine/templates.js';
import type { RunSpec } from '../spec/run-spec.js';
import { isOnKvm, shapeOf } from './template-spec.js';

/** A template that a machine continues. */
export interface UsedTemplate {
  /** The machine of the run, as one that continues the template. */
  spec: MachineSpec;
  files: MachineFiles;
  /** Removes it: it could not be continued. */
  discard(): void;
}

/**
 * The template for a machine. Undefined if there is none or the run does not want one. One that is
 * damaged is removed.
 */
export async function findTemplate(
  spec: MachineSpec,
  { cold }: Pick<RunSpec, 'cold'>,
  home: Home,
  log: Log,
): Promise<UsedTemplate | undefined> {
  const shape = shapeOf(spec);
  if (cold || shape === undefined || !isOnKvm(spec, home.probeCache)) return undefined;
  const store = new TemplateStore(home.templates);
  if (store.isEmpty) return undefined;
  const name = templateName(spec, shape);
  const discard = () => void store.remove(name);
  try {
    const files = await store.open(name);
    if (files === undefined) return undefined;
    return { spec: { ...spec, accel: 'kvm', isSaved: true }, files, discard };
  } catch (error) {
    log.warn(`the container starts cold: ${messageOf(error)}`);
    discard();
    return undefined;
  }
}
