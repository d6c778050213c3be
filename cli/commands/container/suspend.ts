// tsvm suspend and resume: save containers to the disk, and continue them.
import type { Command } from 'commander';
import type { Context } from '../command.js';
import { operationCommand } from './operation.js';

export function command(context: Context): Command {
  const what = 'Saves containers to the disk, memory and processes and all, and ends them.';
  return operationCommand('suspend', `${what} On KVM, and in the background, only.`, context);
}

export function resume(context: Context): Command {
  return operationCommand('resume', 'Continues suspended containers where they stood.', context);
}
