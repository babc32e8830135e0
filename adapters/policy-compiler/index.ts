export { compileApart } from './policy-compiler.ts'
