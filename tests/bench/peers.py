def run(args, work):
    raise NotImplementedError
