from . import forward
import json
print(json.dumps(forward.run()))
