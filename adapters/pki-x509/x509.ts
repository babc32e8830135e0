import 'reflect-metadata' // must run before the library, which resolves its converters through it

export * from '@peculiar/x509'
