// Docker's option for checkpoints in a folder of the caller, which is refused.
import { UsageError } from '../output/errors.js';
import type { Declaration } from './declaration.js';

export interface CheckpointDir {
  checkpointDir?: string;
}

export const CHECKPOINT_DIR_OPTION: Declaration<CheckpointDir> = {
  flags: '--checkpoint-dir <FOLDER>',
  help: 'refused: checkpoints are in the home, TSVM_HOME',
  field: 'checkpointDir',
  parse: (_folder, flag): string => {
    throw new UsageError(`${flag} is not supported: checkpoints are in the home (TSVM_HOME)`);
  },
};
