"""The pickle serializer of sessions, which Django had until 5.0."""

import pickle


class PickleSerializer:
    def dumps(self, obj):
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    def loads(self, data):
        return pickle.loads(data)
