"""A receiver of OTLP by gRPC, of the messages and the server that others generate.

Prints its port, and writes a line for each span to the file that is its argument.
"""

import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

spans = open(sys.argv[1], "w")


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        for resource_spans in request.resource_spans:
            resource = {a.key: a.value.string_value for a in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    paths = [a.value.string_value for a in span.attributes if a.key == "url.path"]
                    print(resource["service.name"], span.trace_id.hex(), span.kind, span.name, *paths, file=spans)
        spans.flush()
        return trace_service_pb2.ExportTraceServiceResponse()


server = grpc.server(futures.ThreadPoolExecutor(2))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Receiver(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
