// tsvm pause and unpause: pause containers and resume them.
import type { Command } from 'commander';
import type { Context } from '../command.js';
import { operationCommand } from './operation.js';

export function command(context: Context): Command {
  return operationCommand('pause', 'Pauses all processes of containers: stops their virtual CPUs.', context);
}

export function unpause(context: Context): Command {
  return operationCommand('unpause', 'Resumes paused containers.', context);
}
