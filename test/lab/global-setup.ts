// Boots one lab for the whole test run; tests reach it by inject('lab').
import type { TestProject } from 'vitest/node';
import { Lab } from './lab.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Path of the lab's socket. */
    lab: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const lab = await Lab.start();
  project.provide('lab', lab.socketPath);
  return () => lab.stop();
}
